"""A snapshot as Prometheus metrics: names, units and help are here, and nothing is kept between two scrapes.

Base units throughout: seconds, ratios, amounts in the account's currency. Ages are by the bot's clock.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from bot.domain.operation import Counter, HeldPosition, Phase, Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_NS = 1e9
_COUNTER_NAME = re.compile(r"[a-z][a-z0-9_]{0,80}_total")
_LABEL_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_SERIES_MAX = 2_000  # of counters: a label that grew without end would drown whoever scrapes

_COUNTER_HELP = {
    "orders_total": "Orders that came to an end, by outcome.",
    "fills_total": "Executions booked.",
    "denials_total": "Orders that the risk gate refused, by code.",
    "reconnects_total": "Connections made anew, by stream.",
    "gaps_total": "Gaps found in a stream.",
    "frames_refused_total": "Messages that could not be decoded or believed.",
    "notices_total": "What became of what people were told, by way out.",
    "answers_total": "Answers of the venue to requests, by kind.",
    "alerts_total": "What a person must look at, by code.",
    "doubts_opened_total": "Requests whose outcome was not known.",
    "doubts_resolved_total": "Requests whose outcome was found out.",
    "doubts_by_outcome_total": "Requests in doubt, by what they turned out to be.",
    "external_fills_total": "Executions on the account of orders that are not ours.",
    "ledger_entries_total": "Entries written, by kind.",
    "position_cuts_total": "Executions of orders that the venue made.",
    "reconciliation_differences_total": "Differences between books and venue that nothing explained.",
    "reconciliations_total": "Comparisons of the books with the venue.",
    "requests_sent_again_total": "Sendings of a request after the first, under the same id.",
    "requests_total": "Requests intended, by kind.",
}


class Gauge(msgspec.Struct, frozen=True, kw_only=True):
    """A figure that is in no snapshot, such as the memory of a GPU."""

    name: str  # Prometheus style, without prefix: gpu_memory_bytes
    help: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()


class Metrics:
    """The metrics of a running bot at one moment, in a registry of their own.

    Args:
        snapshot: of this moment.
        gauges: what else there is to tell.
    """

    def __init__(self, snapshot: Snapshot, gauges: Sequence[Gauge] = ()) -> None:
        self._snapshot = snapshot
        self._gauges = gauges
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield what Prometheus asks for."""
        yield from families(self._snapshot, self._gauges)

    def text(self) -> bytes:
        """Return the exposition."""
        return generate_latest(self._registry)


def families(view: Snapshot, gauges: Sequence[Gauge] = ()) -> Iterator[Metric]:
    """Yield every metric of a snapshot."""
    yield from _run(view)
    yield from _money(view)
    yield from _orders(view)
    yield from _data(view)
    yield from _actors(view)
    yield from _forecasts(view)
    yield from _counters(view.counters)
    yield from _others(gauges)


def _run(view: Snapshot) -> Iterator[Metric]:
    about = {
        "run_id": view.run_id,
        "mode": view.mode,
        "version": view.version,
        "strategy": view.strategy,
        "venue": view.venue,
        "model_id": view.model_id,
        "config_hash": view.config_hash,
        "currency": view.currency,
    }
    yield _gauge("run_info", "What runs; always 1.", [(about, 1)])
    yield _gauge("start_time_seconds", "When the run began, since the epoch.", [({}, view.started_ns / _NS)])
    yield _gauge("time_seconds", "The bot's clock, since the epoch.", [({}, view.now_ns / _NS)])
    phases = [({"phase": phase.value}, int(view.phase is phase)) for phase in Phase]
    yield _gauge("phase", "1 for the phase that the run is in.", phases)
    yield _gauge("troubles", "How many things keep the bot from entering.", [({}, len(view.troubles))])
    yield _gauge("paused", "1 while a person wants no new exposure.", [({}, int(view.is_paused))])
    yield _gauge("killed", "1 while the kill switch is closed.", [({}, int(view.is_killed))])
    yield _gauge("epoch", "How often the account's ledger has been taken up.", [({}, view.epoch)])
    yield _gauge("ledger_sequence", "The journal's newest durable row.", [({}, view.ledger_seq)])
    ages = (
        ("last_decision_age_seconds", "How long ago the strategy last decided.", view.last_decision_ns),
        ("last_reconciled_age_seconds", "How long ago books and venue were last compared.", view.last_reconciled_ns),
    )
    for name, help_, at_ns in ages:
        yield _gauge(name, help_, [({}, (view.now_ns - at_ns) / _NS)] if at_ns else [])
    latches = [({"scope": each.scope, "cause": each.cause, "state": each.state}, 1) for each in view.latches]
    yield _gauge("latch", "1 for each latch that holds trading back.", latches)


def _position_figures(name: str, held: Sequence[tuple[Mapping[str, str], HeldPosition]]) -> Iterator[Metric]:
    """Yield what is held and what it brought, by position: of the account, or of a strategy's own book."""
    figures: tuple[tuple[str, str, Callable[[HeldPosition], Decimal | None]], ...] = (
        ("quantity", "Held, base currency; short is negative.", lambda each: each.qty),
        ("notional", "Value at the mark price; short is negative.", _notional),
        ("unrealized_pnl", "At the mark price.", lambda each: each.unrealized_pnl),
        ("realized_pnl", "Before fees and funding.", lambda each: each.realized_pnl),
        ("fees", "Paid; a rebate is negative.", lambda each: each.fees),
        ("funding", "Received; paid is negative.", lambda each: each.funding),
    )
    for figure, help_, value in figures:
        yield _gauge(f"{name}_{figure}", help_, [(labels, value(each)) for labels, each in held])


def _money(view: Snapshot) -> Iterator[Metric]:
    currency = {"currency": view.currency}
    amounts = (
        ("cash", "Cash.", view.cash),
        ("start_cash", "Cash that the run began with.", view.start_cash),
        ("equity", "Cash and what the positions are worth.", view.equity),
        ("equity_day_start", "Equity at the beginning of the UTC day.", view.equity_day_start),
        ("equity_peak", "The highest equity so far.", view.equity_peak),
    )
    for name, help_, amount in amounts:
        yield _gauge(name, help_, [(currency, amount)])
    yield _gauge("drawdown_ratio", "How far equity is below its peak.", [({}, _loss(view.equity, view.equity_peak))])
    day = _loss(view.equity, view.equity_day_start)
    yield _gauge("day_return_ratio", "Change of equity since the day began.", [({}, None if day is None else -day)])
    held = [({"instrument": each.instrument}, each) for each in view.positions]
    yield from _position_figures("position", held)
    books = [
        ({"strategy": each.strategy, "instrument": each.position.instrument}, each.position) for each in view.books
    ]
    yield from _position_figures("book", books)
    notionals = [_notional(each) for each in view.positions]
    known = [value for value in notionals if value is not None]
    is_known = len(known) == len(notionals)
    gross = sum(map(abs, known), Decimal(0)) if is_known else None
    yield _gauge("exposure_gross", "Value of all positions, long and short added.", [(currency, gross)])
    net = sum(known, Decimal(0)) if is_known else None
    yield _gauge("exposure_net", "Value of all positions, short subtracted.", [(currency, net)])
    leverage = gross / view.equity if gross is not None and view.equity else None
    yield _gauge("leverage_ratio", "Gross exposure over equity.", [({}, leverage)])


def _orders(view: Snapshot) -> Iterator[Metric]:
    names = sorted({each.instrument for each in view.orders} | {each.instrument for each in view.positions})
    open_, doubted = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for order in view.orders:
        open_[order.instrument] += 1
        doubted[order.instrument] += order.is_in_doubt
    yield _gauge("orders_open", "Orders that may still fill.", _by("instrument", open_))
    yield _gauge(
        "orders_in_doubt", "Orders of which it is not known whether the venue has them.", [({}, sum(doubted.values()))]
    )
    oldest = [view.now_ns - each.sent_ns for each in view.orders if each.is_in_doubt]
    yield _gauge(
        "order_doubt_age_seconds",
        "How long ago the oldest order in doubt was sent.",
        [({}, max(oldest, default=0) / _NS)],
    )


def _data(view: Snapshot) -> Iterator[Metric]:
    topics = [({"topic": each.topic}, each) for each in view.data]
    yield _gauge(
        "data_age_seconds", "How old what is known of a topic is.", [(at, each.age_ns / _NS) for at, each in topics]
    )
    yield _gauge(
        "data_age_limit_seconds", "Older than this is stale.", [(at, each.limit_ns / _NS) for at, each in topics]
    )
    yield _gauge(
        "data_trusted", "1 while no gap is open in a topic.", [(at, int(each.is_trusted)) for at, each in topics]
    )
    quantiles: list[tuple[Mapping[str, str], float]] = []
    for each in view.latencies:
        for quantile, value in (("0.5", each.p50_ns), ("0.99", each.p99_ns), ("1", each.worst_ns)):
            quantiles.append(({"stage": each.stage, "quantile": quantile}, value / _NS))
    yield _gauge(
        "stage_latency_seconds", "How long a stage takes, over the last minutes; quantile 1 is the worst.", quantiles
    )
    counts = [({"stage": each.stage}, each.count) for each in view.latencies]
    yield _gauge("stage_latency_observations", "How many measurements the latencies rest on.", counts)


def _actors(view: Snapshot) -> Iterator[Metric]:
    actors = [({"actor": each.name}, each) for each in view.actors]
    yield _gauge("actor_up", "1 while an actor lives.", [(at, int(each.is_alive)) for at, each in actors])
    yield _gauge("queue_depth", "Messages in an actor's inbox.", [(at, each.queued) for at, each in actors])
    yield _gauge("queue_bound", "Messages that an actor's inbox may hold.", [(at, each.bound) for at, each in actors])
    idle = [(at, (view.now_ns - each.last_served_ns) / _NS) for at, each in actors if each.last_served_ns]
    yield _gauge("actor_idle_seconds", "How long ago an actor last served a message.", idle)
    served = CounterMetricFamily("bot_actor_messages", "Messages served since the start.", labels=["actor"])
    for at, each in actors:
        served.add_metric([at["actor"]], each.served)
    yield served


def _forecasts(view: Snapshot) -> Iterator[Metric]:
    ages: list[tuple[Mapping[str, str], float]] = []
    medians: list[tuple[Mapping[str, str], float]] = []
    lived: list[tuple[Mapping[str, str], float]] = []
    nominal: list[tuple[Mapping[str, str], float]] = []
    weights: list[tuple[Mapping[str, str], float]] = []
    for each in view.forecasts:
        ages.append(({"instrument": each.instrument}, (view.now_ns - each.bar_close_ns) / _NS))
        middle = min(range(len(each.levels)), key=lambda n: abs(each.levels[n] - 0.5), default=None)
        for number, horizon_ns in enumerate(each.horizons_ns):
            at = {"instrument": each.instrument, "horizon": f"{horizon_ns / _NS:.0f}s"}
            if middle is not None and number < len(each.quantiles):
                medians.append((at, each.quantiles[number][middle]))
                nominal.append((at, each.levels[-1] - each.levels[0]))
            if number < len(each.coverage):
                lived.append((at, each.coverage[number]))
        for scale_ns, weight in zip(each.scales_ns, each.importance, strict=False):
            weights.append(({"instrument": each.instrument, "scale": f"{scale_ns / _NS:.0f}s"}, weight))
    yield _gauge("forecast_age_seconds", "How long ago the bar closed that the newest forecast is of.", ages)
    yield _gauge("forecast_median_log_return", "Median of the newest forecast, by horizon.", medians)
    yield _gauge("forecast_coverage_ratio", "How often the widest interval held, as lived so far.", lived)
    yield _gauge("forecast_nominal_coverage_ratio", "How often the widest interval ought to hold.", nominal)
    yield _gauge("forecast_scale_importance_ratio", "How much each time scale weighs in the newest forecast.", weights)


def _counters(counters: Iterable[Counter]) -> Iterator[Metric]:
    by_name: dict[str, list[Counter]] = {}
    strange = 0
    for number, each in enumerate(counters):
        is_known = _COUNTER_NAME.fullmatch(each.name) and all(_LABEL_NAME.fullmatch(name) for name, _ in each.labels)
        if not is_known or number >= _SERIES_MAX:
            strange += 1
            continue
        by_name.setdefault(each.name, []).append(each)
    for name, group in sorted(by_name.items()):
        labels = sorted({label for each in group for label, _ in each.labels})
        help_ = _COUNTER_HELP.get(name, "Since the start.")
        family = CounterMetricFamily(f"bot_{name.removesuffix('_total')}", help_, labels=labels)
        for each in group:
            given = dict(each.labels)
            family.add_metric([given.get(label, "") for label in labels], each.value)
        yield family
    yield _gauge(
        "counters_left_out", "Counters of the snapshot that have no fit name, or are too many.", [({}, strange)]
    )


def _others(gauges: Sequence[Gauge]) -> Iterator[Metric]:
    by_name: dict[str, list[Gauge]] = {}
    for each in gauges:
        by_name.setdefault(each.name, []).append(each)
    for name, group in by_name.items():
        yield _gauge(name, group[0].help, [(dict(each.labels), each.value) for each in group])


def _gauge(
    name: str, help_: str, rows: Sequence[tuple[Mapping[str, str], float | Decimal | None]]
) -> GaugeMetricFamily:
    """Return a gauge; a row without a value, or one that is not a number, is left out: absent is not zero."""
    labels = list(rows[0][0]) if rows else []
    family = GaugeMetricFamily(f"bot_{name}", help_, labels=labels)
    for at, value in rows:
        if value is not None and not math.isnan(value):
            family.add_metric([at[label] for label in labels], float(value))
    return family


def _by(label: str, values: Mapping[str, float]) -> list[tuple[Mapping[str, str], float]]:
    return [({label: key}, value) for key, value in values.items()]


def _notional(held: HeldPosition) -> Decimal | None:
    if not held.qty:
        return Decimal(0)
    return None if held.mark_price is None else held.qty * held.mark_price


def _loss(now: Decimal | None, before: Decimal | None) -> Decimal | None:
    return None if now is None or before is None or before <= 0 else 1 - now / before
