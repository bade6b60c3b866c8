"""Puts what an operator wants to see into words: pure, from a snapshot and from what the ledger's past was asked for.

Amounts keep the digits that matter to a person; the ledger has them all.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal

from bot.core.book_sums import sum_books
from bot.core.past_trades import Unit
from bot.domain.history import PastOrder, PastTrade, Result
from bot.domain.operation import CommandDone, HeldPosition, Phase, Snapshot
from bot.operator.telegram.text import Text
from bot.operator.telegram.verbs import HELP

_S = 1_000_000_000
_DAY_NS = 86_400 * _S
_ZERO = Decimal(0)


def help_text() -> Text:
    """Return what may be asked."""
    return Text(head="What I know", body="\n".join(f"/{name} - {what}" for name, what in HELP))


def version(snapshot: Snapshot) -> Text:
    """Return what runs."""
    lines = [
        f"run {snapshot.run_id}, up for {span(snapshot.now_ns - snapshot.started_ns)}",
        f"mode {snapshot.mode}, {snapshot.venue}",
        f"strategy {snapshot.strategy}",
        f"model {snapshot.model_id or 'none'}",
        f"settings {snapshot.config_hash[:12]}, epoch {snapshot.epoch}",
    ]
    return Text(head=f"multiscale-bot {snapshot.version}", body="\n".join(lines))


def status(snapshot: Snapshot, *, is_table: bool = False) -> Text:
    """Return how it goes, at a glance."""
    lines = [f"{snapshot.strategy} on {snapshot.venue} ({snapshot.mode}), up for {_age(snapshot, snapshot.started_ns)}"]
    if snapshot.equity is not None:
        lines.append(f"Equity {money(snapshot.equity)} {snapshot.currency}{_today(snapshot)}")
    lines += [f"! {trouble}" for trouble in snapshot.troubles]
    if snapshot.last_decision_ns:
        lines.append(f"Last decision {_age(snapshot, snapshot.last_decision_ns)} ago")
    if is_table:
        rows: list[tuple[str, ...]] = [("held", "qty", "entry", "now", "pnl")]
        rows += [_position_row(held) for held in held_in(snapshot)]
        books = ["", *_columns(_book_rows(snapshot))] if snapshot.books else []
        return Text(head=_headline(snapshot), body="\n".join([*lines, "", *_columns(rows), *books]), is_table=True)
    lines += [_position_line(held, snapshot.currency) for held in held_in(snapshot)]
    if not held_in(snapshot):
        lines.append("No position.")
    lines.append(many(len(snapshot.orders), "open order"))
    for each in sum_books(snapshot.books):
        held = ", ".join(f"{number(qty)} {name}" for name, qty in each.holds)
        lines.append(f"{each.strategy}: {_signed_or_dash(each.net)} {snapshot.currency}, {held or 'flat'}")
    return Text(head=_headline(snapshot), body="\n".join(lines))


def positions(snapshot: Snapshot) -> Text:
    """Return what is held, each with its exits."""
    if not held_in(snapshot):
        return Text(head="No position.")
    lines: list[str] = []
    for held in held_in(snapshot):
        lines.append(_position_line(held, snapshot.currency))
        parts = [each for each in snapshot.books if each.position.instrument == held.instrument and each.position.qty]
        if parts:
            lines.append(f"  of {', '.join(f'{each.strategy} {number(each.position.qty)}' for each in parts)}")
        entry = f"  entry {_or_dash(held.entry_price)}, mark {_or_dash(held.mark_price)}"
        lines.append(f"{entry}, value {money(_value(held))}")
        booked = f"realized {signed(held.realized_pnl)}, fees {money(held.fees)}, funding {signed(held.funding)}"
        lines.append(f"  {booked}")
        lines.append(
            f"  stop {_or_dash(held.stop_loss)}, target {_or_dash(held.take_profit)}, "
            f"trailing {_or_dash(held.trailing_distance)}"
        )
    return Text(head=many(len(held_in(snapshot)), "position"), body="\n".join(lines))


def open_orders(snapshot: Snapshot) -> Text:
    """Return the orders that may still fill."""
    if not snapshot.orders:
        return Text(head="No open order.", body="/orders 10 for the last ten")
    lines = [
        f"{order.instrument} {order.side} {number(order.filled_qty)} of {number(order.qty)} "
        f"{_at(order.limit_price)}, {order.status}{', IN DOUBT' if order.is_in_doubt else ''}, "
        f"{_age(snapshot, order.sent_ns)} old"
        for order in snapshot.orders
    ]
    return Text(head=many(len(lines), "open order"), body="\n".join(lines))


def past_orders(orders: Sequence[PastOrder]) -> Text:
    """Return the last orders."""
    if not orders:
        return Text(head="No orders yet.")
    lines = [
        f"{moment(order.intended_ns)} {order.instrument} {order.side} {number(order.filled_qty)} of "
        f"{number(order.qty)} {_at(order.limit_price)}: {order.status}"
        for order in orders
    ]
    return Text(head=f"The last {len(orders)} orders", body="\n".join(lines))


def balance(snapshot: Snapshot) -> Text:
    """Return cash and equity."""
    unrealized = sum((held.unrealized_pnl for held in held_in(snapshot)), _ZERO)
    return _table(
        f"Balance, {snapshot.currency}",
        [
            ("cash", money(snapshot.cash)),
            ("unrealized", signed(unrealized)),
            ("equity", "unknown: no mark" if snapshot.equity is None else money(snapshot.equity)),
            ("at start of day", _money_or_dash(snapshot.equity_day_start)),
            ("highest", _money_or_dash(snapshot.equity_peak)),
            ("start cash", money(snapshot.start_cash)),
        ],
    )


def profit(snapshot: Snapshot, total: Result, best: Sequence[Result], by_strategy: Sequence[Result] = ()) -> Text:
    """Return what the ledger brought since it began, and of it what each strategy did, where there are several."""
    unrealized = sum((held.unrealized_pnl for held in held_in(snapshot)), _ZERO)
    lines = [
        ("net, booked", signed(total.net_pnl)),
        ("  realized", signed(total.realized_pnl)),
        ("  fees", money(-total.fees)),
        ("  funding", signed(total.funding)),
        ("unrealized", signed(unrealized)),
        ("trades", f"{total.trades}, {_share(total.wins, total.trades)} won"),
        ("fills", str(total.fills)),
        ("volume", money(total.volume)),
    ]
    if snapshot.start_cash:
        lines.insert(1, ("  of start cash", percent(total.net_pnl / snapshot.start_cash)))
    if total.start_ns:
        lines.append(("since", moment(total.start_ns)))
    if best:
        lines.append(("best", f"{best[0].name} {signed(best[0].net_pnl)}"))
        lines.append(("worst", f"{best[-1].name} {signed(best[-1].net_pnl)}"))
    lines += [(f"of {each.name}", signed(each.net_pnl)) for each in by_strategy]
    return _table(f"Profit, {snapshot.currency}", lines)


def periods(unit: Unit, results: Sequence[Result], currency: str) -> Text:
    """Return what days, weeks or months brought, the newest first."""
    rows: list[tuple[str, ...]] = [(unit, "net", "trades", "won", "fees", "funding")]
    shape = "%Y-%m" if unit == "month" else "%Y-%m-%d"
    for result in reversed(results):
        name = datetime.fromtimestamp(result.start_ns // _S, UTC).strftime(shape)
        won = _share(result.wins, result.trades)
        rows.append(
            (name, signed(result.net_pnl), str(result.trades), won, money(-result.fees), signed(result.funding))
        )
    title = {"day": "Daily", "week": "Weekly (from Monday)", "month": "Monthly"}[unit]
    return Text(head=f"{title} result, {currency}, UTC", body="\n".join(_columns(rows)), is_table=True)


def trades(past: Sequence[PastTrade], currency: str) -> Text:
    """Return the last trades."""
    if not past:
        return Text(head="No trade has ended yet.")
    rows = [("closed", "", "", "net", "held", "")]
    for trade in past:
        rows.append(
            (
                moment(trade.closed_ns)[5:],
                trade.instrument,
                trade.direction,
                signed(trade.net_pnl),
                span(trade.closed_ns - trade.opened_ns),
                trade.cause,
            )
        )
    return Text(head=f"The last {len(past)} trades, {currency}", body="\n".join(_columns(rows)), is_table=True)


def performance(results: Sequence[Result], currency: str, by_strategy: Sequence[Result] = ()) -> Text:
    """Return what each instrument brought, and each strategy where there are several."""
    if not results:
        return Text(head="Nothing has been booked yet.")
    if not by_strategy:
        return Text(head=f"By instrument, {currency}", body="\n".join(_columns(_result_rows(results))), is_table=True)
    # One set of columns for both, so that they stand under each other.
    lines = _columns([*_result_rows(results), *_result_rows(by_strategy)[1:]])
    split = len(results) + 1
    body = "\n".join([*lines[:split], "", "by strategy, each from its own book", *lines[split:]])
    return Text(head=f"By instrument and strategy, {currency}", body=body, is_table=True)


def _result_rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    rows = [(r.name, signed(r.net_pnl), str(r.trades), _share(r.wins, r.trades), money(r.volume)) for r in results]
    return [("", "net", "trades", "won", "volume"), *rows]


def count(snapshot: Snapshot) -> Text:
    """Return how many positions and orders there are."""
    value = sum((_value(held) for held in held_in(snapshot)), _ZERO)
    return _table(
        "Count",
        [
            ("positions", str(len(held_in(snapshot)))),
            ("their value", f"{money(value)} {snapshot.currency}"),
            ("open orders", str(len(snapshot.orders))),
            ("in doubt", str(sum(order.is_in_doubt for order in snapshot.orders))),
        ],
    )


def locks(snapshot: Snapshot) -> Text:
    """Return what holds trading back."""
    lines: list[str] = []
    if snapshot.is_killed:
        lines.append("KILLED: only the host ends it (bot resume --re-arm)")
    if snapshot.is_paused:
        lines.append("Paused by a person: /resume")
    for latch in snapshot.latches:
        until = "until it is settled or resumed" if latch.until_ns is None else f"until {moment(latch.until_ns)}"
        lines.append(f"{latch.scope}: {latch.state} by {latch.cause}, {until}. {latch.detail}".strip())
    return Text(head=many(len(lines), "lock") if lines else "Nothing holds trading back.", body="\n".join(lines))


def health(snapshot: Snapshot) -> Text:
    """Return the age of data, the actors and the latencies."""
    lines = [f"! {trouble}" for trouble in snapshot.troubles] or ["no trouble"]
    rows = [("data", "age", "limit", "")]
    rows += [
        (age.topic, span(age.age_ns), span(age.limit_ns), _data_word(age.age_ns > age.limit_ns, age.is_trusted))
        for age in snapshot.data
    ]
    lines += ["", *_columns(rows)] if snapshot.data else []
    rows = [("actor", "queued", "served", "")]
    rows += [
        (
            a.name,
            f"{a.queued}/{a.bound}" if a.bound else "",  # not every one has an inbox
            str(a.served) if a.bound else "",
            "alive" if a.is_alive else "DEAD",
        )
        for a in snapshot.actors
    ]
    lines += ["", *_columns(rows)] if snapshot.actors else []
    rows = [("latency", "median", "p99", "worst")]
    rows += [(each.stage, span(each.p50_ns), span(each.p99_ns), span(each.worst_ns)) for each in snapshot.latencies]
    lines += ["", *_columns(rows)] if snapshot.latencies else []
    if snapshot.last_reconciled_ns:
        lines += ["", f"compared with the venue {_age(snapshot, snapshot.last_reconciled_ns)} ago"]
    return Text(head=_headline(snapshot), body="\n".join(lines), is_table=True)


def forecast_line(snapshot: Snapshot, instrument: str) -> Text:
    """Return an instrument's newest forecast in words; the picture's caption, or what stands in for it."""
    names = [view.instrument for view in snapshot.forecasts]
    if not names:
        return Text(head="No forecast yet.")
    name = instrument or names[0]
    if name not in names:
        return Text(head=f"No forecast of {name}.", body=f"There are: {', '.join(names)}")
    view = snapshot.forecasts[names.index(name)]
    head = f"{name} at {number(view.close_price)}, bar closed {_age(snapshot, view.bar_close_ns)} ago"
    rows = [("ahead", *(f"{level * 100:g} %" for level in view.levels))]
    for horizon_ns, quantiles in zip(view.horizons_ns, view.quantiles, strict=False):
        rows.append((span(horizon_ns), *(f"{value * 100:+.2f} %" for value in quantiles)))
    return Text(head=head, body="\n".join([*_columns(rows), f"model {view.model_id}"]), is_table=True)


def summary(snapshot: Snapshot, today: Result) -> Text:
    """Return the day in some lines."""
    lines = [
        ("net, booked", signed(today.net_pnl)),
        ("trades", f"{today.trades}, {_share(today.wins, today.trades)} won"),
        ("fills", str(today.fills)),
        ("fees", money(-today.fees)),
        ("funding", signed(today.funding)),
        ("equity", "unknown" if snapshot.equity is None else f"{money(snapshot.equity)}{_today(snapshot)}"),
        ("held", many(len(held_in(snapshot)), "position")),
    ]
    day = datetime.fromtimestamp(today.start_ns // _S, UTC).strftime("%A, %Y-%m-%d")
    return _table(f"{day}: {_headline(snapshot)}", lines)


def done(name: str, outcome: CommandDone) -> Text:
    """Return what came of a command."""
    return Text(head=f"{name}: {'done' if outcome.is_done else 'NOT done'}", body=outcome.text)


def lines(title: str, said: Sequence[str]) -> Text:
    """Return lines as they are, in columns."""
    return Text(head=title if said else f"{title}: none", body="\n".join(said), is_table=True)


def held_in(snapshot: Snapshot) -> list[HeldPosition]:
    """Return the positions that are not flat."""
    return [held for held in snapshot.positions if held.qty]


def many(count: int, what: str) -> str:
    """Return how many there are, in words."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def number(value: Decimal) -> str:
    """Return a quantity or a price as it is, without noughts at its end."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def money(value: Decimal) -> str:
    """Return an amount to two digits after the point, or to three that count where it is small."""
    if not value.is_finite():
        return "unknown"
    if value == 0 or abs(value) >= Decimal("0.1"):
        return f"{value:,.2f}"
    return f"{value:.3g}" if abs(value) >= Decimal("0.0001") else f"{value:.1e}"


def signed(value: Decimal) -> str:
    """Return an amount with its sign."""
    return f"+{money(value)}" if value > 0 else money(value)


def percent(fraction: Decimal) -> str:
    """Return a fraction in hundredths."""
    return f"{fraction * 100:+.2f} %"


def span(span_ns: int) -> str:
    """Return a stretch of time in one unit or two."""
    span_ns = max(0, span_ns)
    if span_ns < _S:
        return f"{span_ns / 1e6:.3g} ms"
    seconds = span_ns // _S
    for size, name, below, below_name in _UNITS:
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            return f"{whole}{name}" + (f" {rest // below}{below_name}" if rest // below else "")
    return f"{seconds}s"


_UNITS: tuple[tuple[int, str, int, Literal["h", "m", "s"]], ...] = (
    (86_400, "d", 3_600, "h"),
    (3_600, "h", 60, "m"),
    (60, "m", 1, "s"),
)


def moment(ts_ns: int) -> str:
    """Return a time, UTC."""
    return datetime.fromtimestamp(ts_ns // _S, UTC).strftime("%Y-%m-%d %H:%M")


def _headline(snapshot: Snapshot) -> str:
    words = {
        Phase.STARTING: "Starting",
        Phase.RECOVERING: "Recovering: no new positions yet",
        Phase.READY: "Running",
        Phase.DEGRADED: "Running, but not as it should",
        Phase.STOPPING: "Stopping",
    }[snapshot.phase]
    if snapshot.is_killed:
        return f"KILLED ({words.lower()})"
    return f"PAUSED ({words.lower()})" if snapshot.is_paused else words


def _today(snapshot: Snapshot) -> str:
    if snapshot.equity is None or not snapshot.equity_day_start:
        return ""
    return f" ({percent(snapshot.equity / snapshot.equity_day_start - 1)} today)"


def _position_line(held: HeldPosition, currency: str) -> str:
    way = "long" if held.qty > 0 else "short"
    return f"{held.instrument} {way} {number(abs(held.qty))}: {signed(held.unrealized_pnl)} {currency}"


def _position_row(held: HeldPosition) -> tuple[str, ...]:
    return (
        held.instrument,
        number(held.qty),
        _or_dash(held.entry_price),
        _or_dash(held.mark_price),
        signed(held.unrealized_pnl),
    )


def _book_rows(snapshot: Snapshot) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("by strategy", "net", "booked", "fees", "holds")]
    for each in sum_books(snapshot.books):
        held = ", ".join(f"{number(qty)} {name}" for name, qty in each.holds)
        rows.append((each.strategy, _signed_or_dash(each.net), signed(each.booked), money(each.fees), held or "flat"))
    return rows


def _signed_or_dash(value: Decimal | None) -> str:
    return "-" if value is None else signed(value)


def _value(held: HeldPosition) -> Decimal:
    price = held.mark_price if held.mark_price is not None else held.entry_price
    return abs(held.qty) * (price or _ZERO)


def _at(price: Decimal | None) -> str:
    return "at the market" if price is None else f"at {number(price)}"


def _or_dash(value: Decimal | None) -> str:
    return "-" if value is None else number(value.quantize(Decimal("1e-8")))


def _money_or_dash(value: Decimal | None) -> str:
    return "-" if value is None else money(value)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "-"


def _data_word(is_stale: bool, is_trusted: bool) -> str:
    if is_stale:
        return "STALE"
    return "ok" if is_trusted else "GAP"


def _age(snapshot: Snapshot, since_ns: int) -> str:
    return span(snapshot.now_ns - since_ns)


def _table(head: str, pairs: Sequence[tuple[str, str]]) -> Text:
    return Text(head=head, body="\n".join(_columns(list(pairs))), is_table=True)


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return rows with their columns under each other, the first to the left and the others to the right."""
    widths = [max(len(row[k]) for row in rows if k < len(row)) for k in range(max(map(len, rows)))]
    return [
        "  ".join(
            cell.ljust(width) if k == 0 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=False))
        ).rstrip()
        for row in rows
    ]
