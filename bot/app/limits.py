"""What the gate and the protections allow and how targets are reached, as settings have it: the same in every mode."""

from bot.core.execution.policy import AtEnd, ExecutionPolicy, Passive, Slices, Style
from bot.core.protections import Ladder, ProtectionLimits, Window
from bot.core.risk import RiskLimits
from bot.runtime.execution_settings import ExecutionSettings
from bot.runtime.risk_settings import ProtectionSettings, RiskSettings


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


def execution_policy(asked: ExecutionSettings, seed: int) -> ExecutionPolicy:
    """Return how targets are reached; `seed` is the run's."""
    passive, sliced = asked.passive, asked.sliced
    is_sliced = asked.policy == "sliced"
    return ExecutionPolicy(
        style=Style(sliced.each if is_sliced else asked.policy),
        passive=Passive(
            improve_ticks=passive.improve_ticks,
            reprice_ticks=passive.reprice_ticks,
            reprice_after_ns=passive.reprice_after,
            reprices_max=passive.reprices_max,
            at_end=AtEnd(passive.at_end),
            look_every_ns=passive.look_every,
        ),
        slices=Slices(count=sliced.slices, total_ns=sliced.total, jitter=sliced.jitter, seed=seed)
        if is_sliced
        else None,
        exit_within_ns=asked.exit_within,
        tries=asked.tries,
        retry_after_ns=asked.retry_after,
        entry_within_ns=asked.entry_within,
        net_within_ns=asked.net_within,
    )


def needs_quotes(asked: ExecutionSettings) -> bool:
    """Return whether orders are kept at the best prices, so that these must be told."""
    return "passive" in (asked.policy, asked.sliced.each if asked.policy == "sliced" else "")
