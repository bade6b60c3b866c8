"""pybit asks about the account."""

from decimal import Decimal

from tests.venue_conformance.conftest import Desk

LINEAR = {"category": "linear", "symbol": "BTCUSDT"}


def test_wallet(desk: Desk) -> None:
    account = desk.http.get_wallet_balance(accountType="UNIFIED")["result"]["list"][0]
    coins = {coin["coin"]: coin for coin in account["coin"]}
    assert coins["USDT"]["walletBalance"] == "1000000"
    assert coins["BTC"]["equity"] == "5"
    assert Decimal(account["totalEquity"]) > 1_000_000


def test_wallet_of_named_coins(desk: Desk) -> None:
    account = desk.http.get_wallet_balance(accountType="UNIFIED", coin="BTC,ETH")["result"]["list"][0]
    assert [coin["coin"] for coin in account["coin"]] == ["BTC", "ETH"]


def test_margin_grows_with_a_position(desk: Desk) -> None:
    desk.market(qty="1")
    account = desk.http.get_wallet_balance(accountType="UNIFIED")["result"]["list"][0]
    assert Decimal(account["totalInitialMargin"]) > 6_000
    assert Decimal(account["totalMaintenanceMargin"]) > 300
    assert 0 < Decimal(account["accountIMRate"]) < 1


def test_fee_rates(desk: Desk) -> None:
    rates = desk.http.get_fee_rates(category="linear")["result"]["list"]
    assert {rate["symbol"] for rate in rates} == {"BTCUSDT", "ETHUSDT"}
    assert rates[0]["takerFeeRate"] == "0.00055"


def test_account_info(desk: Desk) -> None:
    assert desk.http.get_account_info()["result"]["marginMode"] == "REGULAR_MARGIN"


def test_key_information(desk: Desk) -> None:
    info = desk.http.get_api_key_information()["result"]
    assert info["permissions"]["ContractTrade"] == ["Order", "Position"]
    assert info["userID"] == 592324
    assert info["readOnly"] == 0


def test_the_transaction_log_adds_up(desk: Desk) -> None:
    """Each change is cash flow and funding less the fee, and the last balance is the wallet's."""
    desk.market(qty="0.5")
    desk.market(side="Sell", qty="0.5")
    rows = desk.http.get_transaction_log(currency="USDT")["result"]["list"]
    for row in rows:
        parts = Decimal(row["cashFlow"]) + Decimal(row["funding"] or 0) - Decimal(row["fee"])
        assert Decimal(row["change"]) == parts
    wallet = desk.http.get_wallet_balance(accountType="UNIFIED", coin="USDT")["result"]["list"][0]["coin"][0]
    assert Decimal(rows[0]["cashBalance"]) == Decimal(wallet["walletBalance"])
    assert {row["type"] for row in rows} == {"TRADE", "TRANSFER_IN"}


def test_closed_profit(desk: Desk) -> None:
    desk.market(qty="0.1")
    desk.market(side="Sell", qty="0.1", reduceOnly=True)
    (row, *_) = desk.http.get_closed_pnl(**LINEAR)["result"]["list"]
    assert row["side"] == "Sell"
    assert Decimal(row["closedPnl"]) < 0


def test_system_status(desk: Desk) -> None:
    assert desk.http.get_system_status()["result"]["list"] == []
