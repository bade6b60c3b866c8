"""The gate's and the protections' limits, as settings have them: the same for replay, paper and live."""

from bot.core.protections import Ladder, ProtectionLimits, Window
from bot.core.risk import RiskLimits
from bot.runtime.settings import ProtectionSettings, RiskSettings


def risk_limits(risk: RiskSettings) -> RiskLimits:
    """Return the gate's limits."""
    return RiskLimits(
        order_notional_max=risk.order_notional_max,
        position_notional_max=risk.position_notional_max,
        leverage_max=risk.leverage_max,
        price_collar=risk.price_collar,
        mark_age_ns_max=risk.mark_age_max,
        open_orders_max=risk.open_orders_max,
        orders_per_second_max=risk.orders_per_second_max,
        open_positions_max=risk.open_positions_max,
    )


def protection_limits(asked: ProtectionSettings) -> ProtectionLimits:
    """Return what the protections allow."""
    return ProtectionLimits(
        drawdown=Ladder(reduce=asked.drawdown_reduce, halt=asked.drawdown_halt),
        daily_loss=Ladder(reduce=asked.daily_loss_reduce, halt=asked.daily_loss_halt),
        flatten_on_halt=asked.flatten_on_halt,
        cooldown_ns=asked.cooldown,
        stop_guard=Window(
            count=asked.stop_guard_losses, span_ns=asked.stop_guard_window, pause_ns=asked.stop_guard_pause
        ),
        is_stop_guard_of_account=asked.stop_guard_scope == "account",
        low_profit=Window(
            count=asked.low_profit_trips, span_ns=asked.low_profit_window, pause_ns=asked.low_profit_pause
        ),
        low_profit_least=asked.low_profit_least,
        repeated=Window(count=asked.repeated_orders, span_ns=asked.repeated_window, pause_ns=asked.repeated_pause),
    )
