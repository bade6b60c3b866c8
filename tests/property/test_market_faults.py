"""A live feed under faults: what it trusts is true, and once all is well again nothing is missing and no bar is wrong.

The venue is the emulator, the network a loop on its own time (`tests/support/market_sim.py`): each seed takes the same
course. Where nobody could have known that trades were lost, bars that had closed by then stay wrong: those shorter than
a minute, and others where the venue's last word on their last minute was lost too; `docs/streams.md` says so.
"""

import pytest

from bot.emulator.topics import BookTopic
from bot.venues.bybit.live_feed import FeedOptions
from bot.venues.bybit.subscriptions import Status
from tests.support.emulator import MINUTE, SECOND, START_NS
from tests.support.market_faults import FAULTS, LAST_WORD, SILENT, faults_of, mix, names_of
from tests.support.market_sim import Simulation, Venue, book_differences, book_levels, complaints

FROM_NS, UNTIL_NS = 10 * SECOND, 30 * SECOND
BEGIN_NS = START_NS + 40 * SECOND  # a minute closes while things go wrong
MINUTE_END_NS = START_NS + MINUTE
HEAL_S = 300  # after three failures in a row nothing is trusted for a minute, and quiet spells may begin that anew
# In the suite those that differ most; all of them by `make soak`.
FEW = ("drop_any", "reset", "missing_confirm", "stall_trades", "rest_errs")


def run(faults: list[str], seed: int | None = None) -> Simulation:
    """Run a feed through faults until it has healed, and see that they happened and that it says nothing untrue."""
    made = [each for name in faults for each in faults_of(name, from_ns=FROM_NS, until_ns=UNTIL_NS)]
    if seed is not None:
        made = mix(seed, from_ns=FROM_NS, until_ns=UNTIL_NS)
        faults = names_of(made)
    venue = Venue(seconds=500, seed=1 + (seed or 0), faults=made, start_ns=BEGIN_NS)
    sim = Simulation(venue, FeedOptions(history_ns=10 * MINUTE, seed=seed or 0), step_ns=20_000_000)
    lies = Lies(sim)
    sim.watch = lies.look
    sim.run((UNTIL_NS + SECOND) / SECOND)
    sim.run_until(lambda: sim.feed.is_ready, HEAL_S)
    sim.run((MINUTE - sim.now_ns % MINUTE) / SECOND + 5)  # what was lost shows at the latest when its minute closes
    sim.run_until(lambda: sim.feed.is_ready, HEAL_S)
    sim.run_until(lambda: not book_differences(sim.feed, venue.exchange), 2)
    fired = venue.exchange.faults.fired
    if seed is None:
        assert all(fired[each.kind] for each in made), f"of {[each.kind for each in made]} only {fired} happened"
    assert bool(made) >= bool(fired)
    assert fired or all(each.probability < 1 for each in made), "chance alone may let nothing happen"
    assert lies.found == []
    assert lies.looked > 50
    has_short = not SILENT.intersection(faults)
    unknowable_ns = MINUTE_END_NS if not has_short and LAST_WORD.intersection(faults) else None
    assert complaints(sim.bars, venue, sim.now_ns, has_short=has_short, unless_end_ns=unknowable_ns) == []
    assert_all_subscribed(sim)
    return sim


class Lies:
    """How books that may be believed differ from what the venue has published by then, level by level."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self._seen: dict[tuple[str, str], int] = {}
        self.looked = 0
        self.found: list[str] = []

    def look(self) -> None:
        """Look at each book that has changed."""
        for key, feed in self._sim.feed.streams.feeds.items():
            sync = feed.sync
            assert sync is not None
            if self._seen.get(key) == sync.update or self._sim.feed.doubts(*key):
                continue
            topic = self._sim.venue.exchange.public.find("linear", f"orderbook.50.{key[1]}")
            assert isinstance(topic, BookTopic)
            if sync.update != topic.update:
                continue  # on its way
            self._seen[key] = sync.update
            self.looked += 1
            published = topic.snapshot_data()
            price, qty = feed.instrument.price, feed.instrument.qty
            theirs = [[(float(p), float(q)) for p, q in published[side]] for side in ("b", "a")]
            ours = [[(float(price(p)), float(qty(q))) for p, q in side] for side in book_levels(sync)]
            if theirs != ours:
                self.found.append(f"{key[1]} at {self._sim.now_ns}: {ours}, published {theirs}")


def assert_all_subscribed(sim: Simulation) -> None:
    """See that every topic is live here, and followed there."""
    followed = set()
    for session in sim.venue.exchange.hub.sessions.values():
        followed |= set(session.topics)
    for name, session in sim.feed.streams.sessions.items():
        for plan in (each for each in sim.feed.streams.plans if each.name == name):
            for topic in plan.topics:
                assert session.is_trusted(topic.text), topic.text
                assert session.status(topic.text) in (Status.LIVE, Status.CONFIRMED), topic.text
                assert topic.text in followed


def test_an_undisturbed_market_is_told_as_it_was() -> None:
    """Every bar of every length is that of the trades themselves; the venue's minutes of the past come before them."""
    sim = run([])
    assert sim.alerts == []
    assert len(sim.connects) == 1
    assert all(gate.holes == 0 and gate.healed == 0 for gate in sim.feed.gates.values())
    assert all(len(bars.bars(MINUTE)) >= 10 for bars in sim.bars.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", FEW)
def test_a_fault_heals(name: str) -> None:
    run([name])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [13])
def test_mixed_faults_heal(seed: int) -> None:
    run([], seed=seed)


@pytest.mark.soak
@pytest.mark.parametrize("name", [name for name in FAULTS if name not in FEW])
def test_every_fault_heals(name: str) -> None:
    run([name])


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(200))
def test_many_mixes_heal(seed: int) -> None:
    run([], seed=seed)


def books_are_trusted(sim: Simulation) -> bool:
    return all(feed.sync is not None and feed.sync.is_trusted for feed in sim.feed.streams.feeds.values())


@pytest.mark.slow
def test_a_cut_connection_loses_no_trade_and_comes_back_at_once() -> None:
    """The first attempt is made within 250 ms, books are believed again within a second, no bar is worse."""
    venue = Venue(seconds=500)
    sim = Simulation(venue, FeedOptions(history_ns=10 * MINUTE), step_ns=5_000_000)
    sim.run_until(lambda: sim.feed.is_ready, 10)
    sim.run(61)
    for _ in range(2):
        number = next(iter(venue.exchange.hub.sessions))
        cut_ns, before = sim.now_ns, len(sim.connects)
        sim._end(number, "cut")
        sim.run_until(lambda before=before: len(sim.connects) > before, 1)  # type: ignore[misc]
        assert all(sim.feed.doubts(*key) for key in sim.feed.gates)
        assert sim.connects[-1] - cut_ns <= 250_000_000
        sim.run_until(lambda: books_are_trusted(sim), 1)
        assert sim.now_ns - cut_ns <= SECOND
        sim.run_until(lambda: sim.feed.is_ready, 60)  # at the latest with the next trade
        sim.run(61)  # so long a connection must last for the next failure to be the first
    assert complaints(sim.bars, venue, sim.now_ns) == []
    assert all(gate.healed >= 2 and gate.holes == 0 for gate in sim.feed.gates.values())


def test_a_pause_of_the_machine_voids_everything() -> None:
    """After 5 s in which nothing ran no datum is believed before it was told anew (fault C4)."""
    venue = Venue(seconds=200)
    sim = Simulation(venue, FeedOptions(history_ns=10 * MINUTE))
    sim.run_until(lambda: sim.feed.is_ready, 10)
    venue.exchange.advance(sim.now_ns)
    sim.now_ns += 5 * SECOND
    sim.tell("on_time", sim.now_ns)
    assert all("book" in " ".join(sim.feed.doubts(*key)) for key in sim.feed.gates)
    assert all("trades" in " ".join(sim.feed.doubts(*key)) for key in sim.feed.gates)
    assert sim.feed.pauses == 1
    sim.run_until(lambda: sim.feed.is_ready, 10)
    sim.run(70)
    assert complaints(sim.bars, venue, sim.now_ns) == []


@pytest.mark.slow
def test_more_trades_are_lost_than_rest_gives_back() -> None:
    """A minute's worth beyond the newest 1000: the venue's minutes fill it, and say that counts are not whole."""
    venue = Venue(seconds=200, rate=150.0, faults=faults_of("maintenance", from_ns=20 * SECOND, until_ns=0))
    sim = Simulation(venue, FeedOptions(history_ns=10 * MINUTE), step_ns=20_000_000)
    sim.run(40)
    sim.run_until(lambda: sim.feed.is_ready, HEAL_S)
    sim.run(65)
    assert any(gate.holes for gate in sim.feed.gates.values())
    assert complaints(sim.bars, venue, sim.now_ns) == []
    for name, bars in sim.bars.items():
        minutes = bars.bars(MINUTE)
        assert (minutes.flags & 4).any() == bool(sim.feed.gates["linear", name].holes)
