"""Where Bybit is: its environments in one table, and what they differ in.

A key belongs to exactly one environment. An address that is not in this table, and not on this machine, is never
dialled with a signature.

Source: Bybit V5, integration guidance, demo trading; chapter 1 of the protocol's description.
"""

import re
from typing import Literal

import msgspec

from bot.domain.errors import ConfigError
from bot.venues.bybit.topics import Category

Environment = Literal["mainnet", "testnet", "demo", "emulator"]


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """One environment's addresses, without a slash at their end."""

    environment: Environment
    rest: str
    public: str  # market streams: `public_path` is added
    private: str
    trade: str | None  # order entry; None: there is none, orders go by REST
    is_real_money: bool = False
    has_rate_tiers: bool = True  # False: default limits whatever the account's tier
    has_fee_rates: bool = True  # False: its fee rates cannot be relied on

    def public_path(self, category: Category) -> str:
        """Return the address of a category's market streams."""
        return f"{self.public}/v5/public/{category}"

    @property
    def private_path(self) -> str:
        """Return the address of the account's streams."""
        return f"{self.private}/v5/private"

    @property
    def trade_path(self) -> str | None:
        """Return the address of order entry, None where there is none."""
        return None if self.trade is None else f"{self.trade}/v5/trade"

    @property
    def names(self) -> frozenset[str]:
        """Return the host names that may be dialled, with their ports."""
        return frozenset(
            address.split("://", 1)[1] for address in (self.rest, self.public, self.private, self.trade) if address
        )


_TESTNET = "wss://stream-testnet.bybit.com"
HOSTS: dict[str, Host] = {
    "mainnet": Host(
        environment="mainnet",
        rest="https://api.bybit.com",
        public="wss://stream.bybit.com",
        private="wss://stream.bybit.com",
        trade="wss://stream.bybit.com",
        is_real_money=True,
    ),
    "testnet": Host(
        environment="testnet",
        rest="https://api-testnet.bybit.com",
        public=_TESTNET,
        private=_TESTNET,
        trade=_TESTNET,
    ),
    # Demo trades on mainnet's market: it has no market streams and no order entry of its own.
    "demo": Host(
        environment="demo",
        rest="https://api-demo.bybit.com",
        public="wss://stream.bybit.com",
        private="wss://stream-demo.bybit.com",
        trade=None,
        has_rate_tiers=False,
        has_fee_rates=False,
    ),
}

# Accounts of some regions use other domains, of mainnet alone.
REGIONS = {
    "nl": "bybit.nl",
    "tr": "bybit.tr",
    "kz": "bybit.kz",
    "ge": "bybitgeorgia.ge",
    "ae": "bybit.ae",
    "eu": "bybit.eu",
    "id": "bybit.id",
    "jp": "manepa.jp",
}
_LOOPBACK = re.compile(r"http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.ASCII)


def host_of(environment: str, *, region: str = "", url: str = "") -> Host:
    """Return an environment's addresses.

    Args:
        environment: "mainnet", "testnet", "demo", or "emulator" with its `url`.
        region: of mainnet accounts that live on another domain, a key of `REGIONS`.
        url: where an emulator listens on this machine, as "http://127.0.0.1:8765".

    Raises:
        ConfigError: there is no such environment or region, or the emulator is not on this machine.
    """
    if environment == "emulator":
        return _emulator(url)
    host = HOSTS.get(environment)
    if host is None:
        raise ConfigError(f"there is no environment {environment!r}; there are {', '.join(HOSTS)} and emulator")
    if url:
        raise ConfigError(f"{environment} has its own addresses; leave url empty, it is the emulator's")
    if not region:
        return host
    if environment != "mainnet" or region not in REGIONS:
        raise ConfigError(f"there is no region {region!r} of {environment}; mainnet has {', '.join(REGIONS)}")
    stream = f"wss://stream.{REGIONS[region]}"
    rest = f"https://api.{REGIONS[region]}"
    return Host(environment="mainnet", rest=rest, public=stream, private=stream, trade=stream, is_real_money=True)


def _emulator(url: str) -> Host:
    if _LOOPBACK.fullmatch(url) is None:
        raise ConfigError(f"the emulator's url is {url!r}; it must be on this machine, as http://127.0.0.1:8765")
    stream = "ws" + url.removeprefix("http")
    return Host(environment="emulator", rest=url, public=stream, private=stream, trade=stream)
