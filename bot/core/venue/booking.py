"""Every booking of the venue's account: each change of a balance is one row of its transaction log, made here."""

from decimal import Decimal

from bot.core.portfolio import apply_fill
from bot.core.venue.facts import CreateType, ExecType, Execution, Transaction, TransactionType, VenueOrder
from bot.core.venue.margin import closes
from bot.core.venue.state import AccountState, PositionKey
from bot.domain.account import ZERO, Position
from bot.domain.errors import InvariantBroken
from bot.domain.instrument import Side

_TYPE_OF = {
    ExecType.TRADE: TransactionType.TRADE,
    ExecType.BUST: TransactionType.LIQUIDATION,
    ExecType.ADL: TransactionType.ADL,
}


def book(
    state: AccountState,
    ts_ns: int,
    kind: TransactionType,
    coin: str,
    *,
    cash_flow: Decimal = ZERO,
    funding: Decimal = ZERO,
    fee: Decimal = ZERO,
    instrument: str = "",
    side: Side | None = None,
    qty: Decimal = ZERO,
    price: Decimal = ZERO,
    fee_rate: Decimal = ZERO,
    position_qty: Decimal = ZERO,
    order_id: str = "",
    trade_id: str = "",
) -> None:
    """Change a coin's balance: the only place that does."""
    change = cash_flow + funding - fee
    balance = state.balances.get(coin, ZERO) + change
    state.balances[coin] = balance
    state.transactions.append(
        Transaction(
            ts_ns=ts_ns,
            type=kind,
            currency=coin,
            cash_flow=cash_flow,
            funding=funding,
            fee=fee,
            change=change,
            cash_balance=balance,
            instrument=instrument,
            side=side,
            qty=qty,
            price=price,
            fee_rate=fee_rate,
            position_qty=position_qty,
            order_id=order_id,
            trade_id=trade_id,
        )
    )


def execute(
    state: AccountState,
    key: PositionKey,
    *,
    side: Side,
    qty: Decimal,
    price: Decimal,
    fee_rate: Decimal,
    ts_ns: int,
    exec_type: ExecType = ExecType.TRADE,
    create_type: CreateType = CreateType.USER,
    order_id: str = "",
    trade_id: str = "",
    is_maker: bool = False,
) -> Execution:
    """Book a trade of a perpetual."""
    contract = state.contracts[key[0]]
    before = state.positions.get(key, Position(instrument=key[0]))
    closed = min(qty, max(ZERO, -before.qty * side.sign))
    if closed < qty and closes(key, side):
        raise InvariantBroken(f"{key[0]}: a hedged position cannot be closed beyond {abs(before.qty)}")
    fee = price * qty * fee_rate
    after = apply_fill(before, side=side, price=price, qty=qty, fee=fee)
    state.positions[key] = after
    realized = after.realized_pnl - before.realized_pnl
    kind = TransactionType.LIQUIDATION if create_type is CreateType.LIQUIDATION else _TYPE_OF[exec_type]
    book(
        state,
        ts_ns,
        kind,
        contract.settle_coin,
        cash_flow=realized,
        fee=fee,
        instrument=key[0],
        side=side,
        qty=qty,
        price=price,
        fee_rate=fee_rate,
        position_qty=after.qty,
        order_id=order_id,
        trade_id=trade_id,
    )
    return Execution(
        ts_ns=ts_ns,
        instrument=key[0],
        position_index=key[1],
        side=side,
        qty=qty,
        price=price,
        fee=fee,
        fee_coin=contract.settle_coin,
        fee_rate=fee_rate,
        closed_qty=closed,
        realized_pnl=realized,
        position_qty=after.qty,
        mark_price=state.marks.get(key[0]),
        is_maker=is_maker,
        exec_type=exec_type,
        create_type=create_type,
        order_id=order_id,
        trade_id=trade_id,
    )


def fill_spot(
    state: AccountState,
    order: VenueOrder,
    *,
    qty: Decimal,
    price: Decimal,
    rate: Decimal,
    ts_ns: int,
    trade_id: str,
    is_maker: bool = False,
) -> Execution:
    """Book both legs. The fee is taken from what comes in, a rebate is added to what goes out."""
    instrument = state.contracts[order.instrument].instrument
    legs = {instrument.base: qty * order.side.sign, instrument.quote: -qty * price * order.side.sign}
    fee_coin = next(coin for coin, amount in legs.items() if (amount > 0) == (rate >= 0))
    fee = abs(legs[fee_coin]) * rate
    for coin, amount in legs.items():
        book(
            state,
            ts_ns,
            TransactionType.TRADE,
            coin,
            cash_flow=amount,
            fee=fee if coin == fee_coin else ZERO,
            instrument=order.instrument,
            side=order.side,
            qty=qty,
            price=price,
            fee_rate=rate if coin == fee_coin else ZERO,
            order_id=order.order_id,
            trade_id=trade_id,
        )
    return Execution(
        ts_ns=ts_ns,
        instrument=order.instrument,
        position_index=order.position_index,
        side=order.side,
        qty=qty,
        price=price,
        fee=fee,
        fee_coin=fee_coin,
        fee_rate=rate,
        closed_qty=ZERO,
        realized_pnl=ZERO,
        position_qty=ZERO,
        mark_price=None,
        is_maker=is_maker,
        order_id=order.order_id,
        trade_id=trade_id,
    )


def convert(
    state: AccountState, *, sold_coin: str, sold: Decimal, bought_coin: str, bought: Decimal, ts_ns: int
) -> None:
    """Book a sale of one coin for another to the insurance fund."""
    book(state, ts_ns, TransactionType.CURRENCY_SELL, sold_coin, cash_flow=-sold)
    book(state, ts_ns, TransactionType.CURRENCY_BUY, bought_coin, cash_flow=bought)
    _from_fund(state, sold_coin, -sold)
    _from_fund(state, bought_coin, bought)


def insure(state: AccountState, coin: str, amount: Decimal, *, ts_ns: int) -> None:
    """Book what the insurance fund makes good."""
    book(state, ts_ns, TransactionType.LIQUIDATION, coin, cash_flow=amount)
    _from_fund(state, coin, amount)


def _from_fund(state: AccountState, coin: str, amount: Decimal) -> None:
    state.insurance[coin] = state.insurance.get(coin, ZERO) + amount
