"""The live actor and a service that does as it is told: who is asked, when, and what is traded on."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from bot.actors.inbox import Inbox, Stop
from bot.actors.live_inference import Form, LiveInference, Settled
from bot.core.calibration import CalibrationParams
from bot.core.features.engine import FeatureEngine
from bot.core.features.schema import FeatureSchema
from bot.core.inference_frames import Answered, Decision, NewRows, Outcome, Shape
from bot.core.trust import TrustScan
from bot.domain.instrument import Instrument
from bot.domain.market import BarBatch, ForecastBatch, MarketSlab

SECOND = 10**9
MINUTE = 60 * SECOND
START_NS = 28_401_120 * MINUTE
NAMES = ("AAA", "BBB")
SCHEMA = FeatureSchema(["log_return"], ["1m"])
LEVELS = (0.1, 0.5, 0.9)
SHAPE = Shape(
    model_id="first",
    schema_hash=SCHEMA.hash,
    features=1,
    scales=("1m",),
    scale_ns=(MINUTE,),
    needs=(2,),
    horizons=1,
    levels=3,
    answers=0,
    instruments=NAMES,
)
INSTRUMENTS = {
    name: Instrument(
        name=name,
        base="X",
        quote="USDT",
        tick_size=Decimal("0.1"),
        qty_step=Decimal(1),
        qty_min=Decimal(1),
        qty_max=Decimal(9),
    )
    for name in NAMES
}


class Scripted:
    """A `ports.ForecastService`: answers what it was asked when the test says so."""

    def __init__(self) -> None:
        self.model_id = "first"
        self.is_ready = True
        self.rows: list[NewRows] = []  # that were handed over, with a question or without
        self.remembered = 0
        self.asked: dict[int, Sequence[Decision]] = {}
        self.outcomes: list[Outcome] = []

    def remember(self, rows: NewRows) -> None:
        self.remembered += len(rows.close_ns)

    def ask(self, rows: Sequence[NewRows], decisions: Sequence[Decision], now_ns: int) -> int | None:
        self.rows += rows
        if not self.is_ready or not decisions:
            return None
        self.asked[len(self.asked) + 1] = decisions
        return len(self.asked)

    def poll(self, now_ns: int) -> Sequence[Outcome]:
        made, self.outcomes = self.outcomes, []
        return made

    def next_ns(self) -> int | None:
        return None

    def answer(self, number: int, *, reason: str = "") -> None:
        """Let a question be answered."""
        answers = [
            Answered(
                instrument=each.instrument,
                close_ns=each.close_ns,
                is_there=True,
                quantiles_HQ=np.array([[-0.01, 0.0, 0.01]]),
                answers_A=np.empty(0),
                importance_S=np.ones(1),
            )
            for each in self.asked[number]
        ]
        self.outcomes.append(
            Outcome(
                request_id=number,
                answers=[] if reason else answers,
                reason=reason,
                model_id=self.model_id,
                took_ns=5,
            )
        )


class Desk:
    """The actor on the running loop, its clocks moved by hand."""

    def __init__(self) -> None:
        self.market_ns = self.real_ns = START_NS
        self.service = Scripted()
        self.delivered: list[MarketSlab] = []
        self.seen: list[ForecastBatch] = []
        self.settled: list[Settled] = []
        self.inbox: Inbox[object] = Inbox("inference", bound=100)
        self.trusts = 0
        self.actor = LiveInference(
            inbox=self.inbox,  # type: ignore[arg-type]
            deliver=[self.delivered.append],
            service=self.service,
            form=Form(shape=SHAPE, horizons_ns=(5 * MINUTE,), levels=LEVELS, answer_names=()),
            engines={name: FeatureEngine(SCHEMA, each) for name, each in INSTRUMENTS.items()},
            make_trust=self.make_trust,
            instruments=INSTRUMENTS,
            now_ns=lambda: self.market_ns,
            monotonic_ns=lambda: self.real_ns,
            gather_ns=SECOND,
            late_ns=2 * SECOND,
            on_forecasts=self.seen.append,
            on_heard=self.settled.append,
            passes_bars=False,
        )

    def make_trust(self) -> dict[str, TrustScan]:
        self.trusts += 1
        params = CalibrationParams(rate=0.0)
        return {
            name: TrustScan(each, scale_ns=MINUTE, horizons_ns=(5 * MINUTE,), levels=LEVELS, params=params)
            for name, each in INSTRUMENTS.items()
        }

    async def close(self, minute: int, *names: str) -> None:
        """Let the bar of a minute close, and the actor have its turn."""
        self.market_ns = max(self.market_ns, START_NS + (minute + 1) * MINUTE)
        for name in names:
            self.inbox.deliver(
                MarketSlab(instrument=INSTRUMENTS[name], watermark_ns=self.market_ns, bars={MINUTE: bar(name, minute)})
            )
        await self.turn()

    async def turn(self, real_s: float = 0.0) -> None:
        self.real_ns += int(real_s * SECOND)
        self.actor.poke()
        for _ in range(3):
            await asyncio.sleep(0)


def bar(name: str, minute: int) -> BarBatch:
    price, one = np.array([1_000 + minute % 7]), np.array([1])
    return BarBatch(
        instrument=INSTRUMENTS[name],
        scale_ns=MINUTE,
        first_row=minute,
        open_ns=np.array([START_NS + minute * MINUTE]),
        known_ns=np.array([START_NS + (minute + 1) * MINUTE]),
        open_ticks=price,
        high_ticks=price,
        low_ticks=price,
        close_ticks=price,
        volume_steps=one,
        turnover=one,
        count=one,
        buy_steps=one,
        flags=np.zeros(1, dtype=np.uint8),
    )


async def test_bars_that_close_together_are_one_question_and_others_are_not_waited_for() -> None:
    desk = Desk()
    running = asyncio.create_task(desk.actor.run())
    await desk.close(0, *NAMES)
    assert [len(each) for each in desk.service.asked.values()] == [2]
    await desk.close(1, "AAA")
    assert len(desk.service.asked) == 1
    await desk.turn(real_s=1.1)
    assert [len(each) for each in desk.service.asked.values()] == [2, 1]
    assert desk.service.remembered == len(desk.service.rows) == 3
    desk.inbox.deliver(Stop())
    await desk.turn()
    assert not running.done()  # the other one's market goes on
    desk.inbox.deliver(Stop())
    await running


async def test_a_forecast_that_comes_late_is_shown_and_not_traded_on() -> None:
    desk = Desk()
    running = asyncio.create_task(desk.actor.run())
    await desk.close(0, *NAMES)
    desk.service.answer(1)
    await desk.turn()
    assert [each.forecasts is not None for each in desk.delivered] == [True, True]
    await desk.close(1, *NAMES)
    desk.service.answer(2)
    desk.market_ns += 3 * SECOND
    await desk.turn()
    assert (len(desk.delivered), len(desk.seen)) == (2, 4)
    assert desk.actor.answered["AAA"] == (START_NS + 2 * MINUTE, desk.market_ns)
    await desk.close(2, *NAMES)
    desk.service.answer(3, reason="late")
    await desk.turn()
    assert len(desk.seen) == 4
    assert [(each.decisions, each.reason) for each in desk.settled] == [(2, ""), (2, ""), (2, "late")]
    running.cancel()


async def test_while_nobody_answers_the_newest_decision_is_kept() -> None:
    """It is asked as soon as somebody can, once, of the newest bar; no row is lost meanwhile."""
    desk = Desk()
    running = asyncio.create_task(desk.actor.run())
    desk.service.is_ready = False
    for minute in range(5):
        await desk.close(minute, *NAMES)
    assert desk.service.asked == {}
    assert desk.service.remembered == len(desk.service.rows) == 10
    desk.service.is_ready = True
    await desk.turn()
    await desk.turn()
    assert len(desk.service.asked) == 1
    assert {each.close_ns for each in desk.service.asked[1]} == {START_NS + 5 * MINUTE}
    running.cancel()


async def test_another_model_signs_its_own_and_earns_its_own_trust() -> None:
    """An answer of the one before that is still on its way keeps the name of the one that was asked."""
    desk = Desk()
    running = asyncio.create_task(desk.actor.run())
    await desk.close(0, *NAMES)
    desk.service.answer(1)
    desk.service.outcomes[0] = replace_model(desk.service.outcomes[0], "first")
    desk.service.model_id = "second"
    await desk.turn()
    assert {each.model_id for each in desk.seen} == {"first"}
    assert desk.trusts == 1
    await desk.close(1, *NAMES)
    desk.service.answer(2)
    await desk.turn()
    assert [each.model_id for each in desk.seen] == ["first", "first", "second", "second"]
    assert desk.trusts == 2
    running.cancel()


def replace_model(outcome: Outcome, model_id: str) -> Outcome:
    return Outcome(
        request_id=outcome.request_id, answers=outcome.answers, reason="", model_id=model_id, took_ns=outcome.took_ns
    )
