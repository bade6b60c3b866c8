"""Settings of the gate before every order, and of what stops trading when it goes wrong."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, model_validator

from bot.core.durations import Duration
from bot.runtime.setting_types import Section

_MINUTE_NS = 60_000_000_000


class RiskSettings(Section):
    """What the gate allows; see `docs/risk_codes.md`."""

    order_notional_max: Decimal = Field(
        Decimal(250_000), gt=0, description="quote currency, at the limit price or else at mark"
    )
    position_notional_max: Decimal = Field(Decimal(250_000), gt=0, description="quote currency at mark")
    leverage_max: Decimal = Field(Decimal(3), gt=0, le=100, description="worst case, a multiple of equity")
    price_collar: Decimal = Field(Decimal("0.05"), gt=0, lt=1, description="limit price from the mark, a fraction")
    mark_age_max: Duration = Field(2 * _MINUTE_NS, gt=0, description="older prices close the door")
    open_orders_max: int = Field(50, ge=1, le=500, description="per instrument")
    orders_per_second_max: int = Field(10, ge=1, le=1000)
    open_positions_max: int = Field(0, ge=0, le=1000, description="instruments held at once; 0 for no limit")


Rung = Annotated[Decimal, Field(ge=0, lt=1)]
"""How much may be lost before something happens, a fraction; 0: never."""


class ProtectionSettings(Section):
    """What stops trading when it goes wrong; see `docs/risk_codes.md`."""

    drawdown_reduce: Rung = Field(Decimal("0.2"), description="lost of the highest equity: only exits from then on")
    drawdown_halt: Rung = Field(Decimal("0.3"), description="lost of the highest equity: no orders from then on")
    daily_loss_reduce: Rung = Field(Decimal("0.1"), description="lost since midnight UTC: only exits until the next")
    daily_loss_halt: Rung = Field(Decimal("0.15"), description="lost since midnight UTC: no orders until the next")
    flatten_on_halt: bool = Field(False, description="close every position when the account is halted")
    check_every: Duration = Field(60 * _MINUTE_NS, ge=1_000_000_000, description="how often equity is looked at")
    cooldown: Duration = Field(0, ge=0, description="no entry for so long after a round trip's end; 0s: off")
    stop_guard_losses: int = Field(0, ge=0, le=1000, description="so many losing round trips; 0: off")
    stop_guard_window: Duration = Field(1440 * _MINUTE_NS, gt=0, description="within so long")
    stop_guard_pause: Duration = Field(60 * _MINUTE_NS, ge=0, description="no entry for so long; 0s: for good")
    stop_guard_scope: Literal["instrument", "account"] = Field("instrument", description="where it counts and pauses")
    low_profit_trips: int = Field(0, ge=0, le=1000, description="the last so many round trips; 0: off")
    low_profit_least: Decimal = Field(Decimal(0), description="must have brought this, quote currency")
    low_profit_window: Duration = Field(1440 * _MINUTE_NS, gt=0, description="within so long")
    low_profit_pause: Duration = Field(60 * _MINUTE_NS, ge=0, description="no entry for so long; 0s: for good")
    repeated_orders: int = Field(0, ge=0, le=100_000, description="executed orders of one side at most; 0: off")
    repeated_window: Duration = Field(_MINUTE_NS, gt=0, description="within so long")
    repeated_pause: Duration = Field(0, ge=0, description="no entry for so long; 0s: for good")

    @model_validator(mode="after")
    def _has_its_rungs_in_order(self) -> "ProtectionSettings":
        for name in ("drawdown", "daily_loss"):
            reduce, halt = getattr(self, f"{name}_reduce"), getattr(self, f"{name}_halt")
            if halt and not reduce <= halt:
                raise ValueError(f"{name}_reduce must not be above {name}_halt")
        if not self.low_profit_least.is_finite():
            raise ValueError("low_profit_least must be a number")
        return self
