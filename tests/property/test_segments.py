"""The order of the data: every decision counts once an epoch, nothing is seen before it is known, all from the seed."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain.errors import ConfigError
from models.training.samples import SampleSet
from models.training.segments import Gatherer, Order, lengths_needed
from models.training.session import stream_lengths
from tests.support.examples import examples
from tests.support.tiny_training import FIVE, make_samples, streaming_config

LENGTHS = {"5m": 9, "15m": 9}


@cache
def samples() -> SampleSet:
    return make_samples(streaming_config(), segment=16)


@given(
    segment=st.integers(1, 40),
    batch=st.integers(1, 9),
    seed=st.one_of(st.none(), st.integers(0, 5)),
    epoch=st.integers(0, 3),
    keep=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 60)), max_size=4),
)
@settings(deadline=None, max_examples=examples(80))
def test_every_decision_counts_once(
    segment: int, batch: int, seed: int | None, epoch: int, keep: list[tuple[int, int]]
) -> None:
    """Whatever the role's rows, with holes and two instruments: an epoch counts each of them exactly once.

    A row of a batch is decisions of one instrument, one bar apart, all of the role; no more than asked for.
    """
    everyone = samples()
    chosen = np.unique(np.concatenate([np.arange(a, a + n) for a, n in keep])) if keep else np.arange(len(everyone))
    rows = chosen[chosen < len(everyone)].astype(np.int64)
    order = Order(everyone, rows, batch=batch, segment=segment, decision_ns=FIVE, seed=seed)
    counted = np.zeros(len(everyone), dtype=np.int64)
    for each in order.epoch(epoch):
        assert each.rows_BT.shape[0] <= batch
        assert each.rows_BT.shape[1] <= segment
        assert np.isin(each.rows_BT, rows).all()
        assert (np.diff(each.rows_BT, axis=1) == 1).all()
        assert (np.diff(everyone.close_ns[each.rows_BT], axis=1) == FIVE).all()
        assert (np.ptp(everyone.instrument[each.rows_BT], axis=1) == 0).all()
        np.add.at(counted, each.rows_BT[each.counts_BT], 1)
    expected = np.zeros(len(everyone), dtype=np.int64)
    expected[rows] = 1
    np.testing.assert_array_equal(counted, expected)
    assert len(order) == len(rows)


@given(world=st.integers(1, 4), batch=st.integers(1, 9))
@settings(deadline=None, max_examples=20)
def test_shards_are_the_batch(world: int, batch: int) -> None:
    """Processes share a batch: each decision counts in one of them, and all have equally many rows."""
    rows = np.arange(len(samples()))
    for chosen in Order(samples(), rows, batch=batch, segment=16, decision_ns=FIVE, seed=1).epoch(0):
        shards = [chosen.shard(rank, world) for rank in range(world)]
        assert len({shard.rows_BT.shape for shard in shards}) == 1
        counted = np.concatenate([shard.rows_BT[shard.counts_BT] for shard in shards])
        np.testing.assert_array_equal(np.sort(counted), np.sort(chosen.rows_BT[chosen.counts_BT]))


def test_order_depends_on_seed_and_epoch_alone() -> None:
    """The same twice; another epoch cuts elsewhere; another seed too."""

    def flat(seed: int, epoch: int) -> list[list[int]]:
        rows = np.arange(len(samples()))
        order = Order(samples(), rows, batch=4, segment=16, decision_ns=FIVE, seed=seed)
        return [each.rows_BT[each.counts_BT].tolist() for each in order.epoch(epoch)]

    assert flat(1, 0) == flat(1, 0)
    assert flat(1, 0) != flat(1, 1)
    assert flat(1, 0) != flat(2, 0)


def test_batches_hold_what_was_known_and_enough_of_it() -> None:
    """Every decision finds its whole window in the batch, by time: the newest bars that were known by then."""
    everyone = samples()
    config = streaming_config()
    assert stream_lengths(config) == LENGTHS
    gatherer = Gatherer(everyone, LENGTHS, segment=16, decision_ns=FIVE)
    rows = np.arange(len(everyone))
    shapes = set()
    for chosen in Order(everyone, rows, batch=4, segment=16, decision_ns=FIVE, seed=1).epoch(0):
        made = gatherer.gather(chosen)
        shapes.add(tuple(each.values_BLF.shape[1] for each in made.scales.values()))
        np.testing.assert_array_equal(made.weights_BT > 0, chosen.counts_BT)
        np.testing.assert_array_equal(made.asset_B, everyone.instrument[chosen.rows_BT[:, 0]])
        for number, stream in enumerate(everyone.streams):
            arrays = made.scales[stream.name]
            assert (arrays.known_ns_BL[:, -1] <= made.decision_ns_BT[:, -1]).all()
            for b, t in np.ndindex(*chosen.rows_BT.shape):
                known = arrays.known_ns_BL[b] <= made.decision_ns_BT[b, t]
                stop = everyone.ends[chosen.rows_BT[b, t], number]
                window = stream.values[stop - LENGTHS[stream.name] : stop]
                np.testing.assert_array_equal(arrays.values_BLF[b][known][-LENGTHS[stream.name] :], window)
    assert shapes == {(9 + 15, 9 + 5)}  # one shape, whatever closes between the first decision and the last


def test_event_bars_need_windows() -> None:
    """How many bars of a volume lie in a segment cannot be told beforehand."""
    with pytest.raises(ConfigError, match="event bars need a window system"):
        Gatherer(samples(), {"volume:100": 3}, segment=2, decision_ns=FIVE)
    assert lengths_needed({"5m": 3}, segment=1) == {"5m": 3}
