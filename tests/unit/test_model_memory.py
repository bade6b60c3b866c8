"""Streams that become one: what is known when, gates, pyramids and pools."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from bot.domain.errors import DataError
from models.attention.masks import Padding
from models.config import AttnConfig, BlockConfig
from models.memory import CrossAttend, GatedFusion, Memory, Pool, Pyramid, VariableEmbed, asof, take_asof

MINUTE = 60 * 10**9
START = 1_700_000_000 * 10**9


def memory(tag: str, step: int, count: int, *, rows: int = 2, width: int = 16, seed: int = 0) -> Memory:
    """Return tokens known every `step` minutes, the first one step after the start."""
    rng = np.random.default_rng([seed, step])
    tokens = torch.from_numpy(rng.standard_normal((rows, count, width)))
    known = START + MINUTE * step * torch.arange(1, count + 1)
    return Memory(tag=tag, tokens_BMD=tokens, known_ns_BM=known.repeat(rows, 1))


def queries(*minutes: int, rows: int = 2, width: int = 16) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(9)
    x = torch.from_numpy(rng.standard_normal((rows, len(minutes), width)))
    return x, (START + MINUTE * torch.tensor(minutes)).repeat(rows, 1)


def cross(seed: int = 0, **fields: Any) -> CrossAttend:
    torch.manual_seed(seed)
    return CrossAttend(**{"width": 16, "heads": 2, "tags": ("5m", "1h")} | fields).double().eval()


def test_asof_is_the_newest_known() -> None:
    """A token known exactly at the query's time is seen; one nanosecond later it is not."""
    found = memory("5m", 5, 3)
    _, at = queries(4, 5, 6, 14, 15, 99)
    assert asof(found, at)[0].tolist() == [-1, 0, 0, 1, 2, 2]
    assert asof(found, at - 1)[0].tolist() == [-1, -1, 0, 1, 1, 2]
    taken = take_asof(found, at[:, 1:])
    assert torch.equal(taken[:, 0], found.tokens_BMD[:, 0])
    with pytest.raises(DataError, match="5m: nothing is known of it"):
        take_asof(found, at)


def test_what_is_not_known_yet_changes_nothing() -> None:
    """Tokens known after a query's time may be anything: not a bit of the answer moves."""
    for recent in (None, 3):
        layer = cross(recent=recent)
        fast, slow = memory("5m", 5, 30), memory("1h", 60, 3)
        x, at = queries(61, 75, 130)
        answer = layer(x, at, [fast, slow])
        for number, minutes in enumerate((61, 75, 130)):
            changed = []
            for each in (fast, slow):
                later = (each.known_ns_BM > START + MINUTE * minutes)[..., None]
                tokens = torch.where(later, each.tokens_BMD + 100, each.tokens_BMD)
                changed.append(Memory(tag=each.tag, tokens_BMD=tokens, known_ns_BM=each.known_ns_BM))
            other = layer(x, at, changed)
            assert torch.equal(other[:, : number + 1], answer[:, : number + 1])
        assert not torch.equal(layer(x, at, [memory("5m", 5, 30, seed=1), slow]), answer)


def test_recent_is_the_same_function_where_it_reaches() -> None:
    """With as many recent tokens as there are, gathering them is masking the rest; with fewer it is not."""
    fast, slow = memory("5m", 5, 20), memory("1h", 60, 4)
    x, at = queries(60, 95, 240)
    everything = cross()(x, at, [fast, slow])
    torch.testing.assert_close(cross(recent=20)(x, at, [fast, slow]), everything, rtol=0, atol=1e-12)
    assert not torch.allclose(cross(recent=2)(x, at, [fast, slow]), everything)


def test_a_tail_of_just_what_is_seen_needs_no_search() -> None:
    """A live step, with keys that were made as tokens came: the same as from the whole history."""
    layer = cross(recent=3)
    whole = [memory("5m", 5, 30), memory("1h", 60, 3)]
    tails = [
        Memory(tag=each.tag, tokens_BMD=each.tokens_BMD[:, -3:], known_ns_BM=each.known_ns_BM[:, -3:]) for each in whole
    ]
    kept = [replace(each, keys=layer.keys_of(each, number)) for number, each in enumerate(tails)]
    x, at = queries(181)
    expected = layer(x, at, whole)
    torch.testing.assert_close(layer(x, at, tails), expected)
    torch.testing.assert_close(layer(x, at, kept), expected)
    torch.testing.assert_close(layer.importance(x, at, kept), layer.importance(x, at, whole))
    x, before = queries(179)  # the hour's newest token is not known yet, so one has to look
    torch.testing.assert_close(layer(x, before, kept), layer(x, before, tails))
    assert not torch.equal(layer(x, before, kept), layer(x, at, kept))


def test_queries_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long histories are gathered for piece by piece, and say the same."""
    fast, slow = memory("5m", 5, 40), memory("1h", 60, 4)
    x, at = queries(*range(60, 190))
    layer = cross(recent=4)
    whole, shares = layer(x, at, [fast, slow]), layer.importance(x, at, [fast, slow])
    monkeypatch.setattr("models.memory._CHUNK", 17)
    torch.testing.assert_close(layer(x, at, [fast, slow]), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.importance(x, at, [fast, slow]), shares, rtol=0, atol=1e-12)


def test_age_decides_and_the_calendar_does_not() -> None:
    """Moved together in time, queries and memories give the same; moved apart they do not."""
    layer = cross()
    x, at = queries(120, 180)
    parts = [memory("5m", 5, 20), memory("1h", 60, 2)]
    answer = layer(x, at, parts)
    shift = 123_456_789 * MINUTE // 1000
    moved = [Memory(tag=p.tag, tokens_BMD=p.tokens_BMD, known_ns_BM=p.known_ns_BM + shift) for p in parts]
    torch.testing.assert_close(layer(x, at + shift, moved), answer, rtol=0, atol=1e-9)
    assert not torch.allclose(layer(x, at + 600 * MINUTE, parts), answer, rtol=0, atol=1e-6)


def test_streams_are_told_apart() -> None:
    """The same tokens under the other tag are another message."""
    layer = cross()
    with torch.no_grad():
        layer.tag_SD.mul_(50)
    x, at = queries(120)
    one, two = memory("5m", 60, 2, seed=1), memory("1h", 60, 2, seed=2)
    swapped = [
        Memory(tag="5m", tokens_BMD=two.tokens_BMD, known_ns_BM=two.known_ns_BM),
        Memory(tag="1h", tokens_BMD=one.tokens_BMD, known_ns_BM=one.known_ns_BM),
    ]
    assert not torch.allclose(layer(x, at, [one, two]), layer(x, at, swapped))


@pytest.mark.parametrize("recent", [None, 4])
def test_importance_sums_to_one(recent: int | None) -> None:
    for absent in ("error", "token"):
        layer = cross(recent=recent, absent=absent)
        x, at = queries(60, 130)
        shares = layer.importance(x, at, [memory("5m", 5, 30), memory("1h", 60, 3)])
        assert shares.shape == (2, 2, 2)
        torch.testing.assert_close(shares.sum(-1), torch.ones(2, 2, dtype=torch.float64))
        assert bool((shares > 0).all())


@pytest.mark.parametrize("recent", [None, 4])
def test_a_stream_that_knows_nothing(recent: int | None) -> None:
    """It is an error that names it, or a learned token speaks for it."""
    parts = [memory("5m", 5, 30), memory("1h", 60, 3)]
    x, at = queries(30, 130)
    with pytest.raises(DataError, match="1h: nothing is known of it"):
        cross(recent=recent)(x, at, parts)
    layer = cross(recent=recent, absent="token")
    answer = layer(x, at, parts)
    assert bool(torch.isfinite(answer).all())
    answer[:, 0].sum().backward()
    assert layer.absent_SD is not None
    assert layer.absent_SD.grad is not None
    assert bool(layer.absent_SD.grad.any())


def test_absent_tokens_have_no_age() -> None:
    """Before anything is known, the time of day makes no difference."""
    layer = cross(absent="token")
    parts = [memory("5m", 5, 3), memory("1h", 60, 3)]
    x, _ = queries(0)
    answers = [layer(x, torch.full((2, 1), START - hours * 60 * MINUTE), parts) for hours in (1, 7)]
    torch.testing.assert_close(answers[0], answers[1], rtol=0, atol=1e-12)


def test_memories_check_themselves() -> None:
    good = memory("5m", 5, 3)
    with pytest.raises(DataError, match="5m: tokens are not in the order"):
        Memory(tag="5m", tokens_BMD=good.tokens_BMD, known_ns_BM=good.known_ns_BM.flip(1))
    with pytest.raises(ValueError, match="known at"):
        Memory(tag="5m", tokens_BMD=good.tokens_BMD, known_ns_BM=good.known_ns_BM[:, 1:])
    x, at = queries(60)
    with pytest.raises(ValueError, match=r"tags are \['5m', '1h'\]"):
        cross()(x, at, [memory("1h", 60, 1), good])


@pytest.mark.parametrize("mode", ["sum", "concat"])
def test_gates(mode: Literal["sum", "concat"]) -> None:
    """Gates sum to one, are positive, and follow the learned weight of a stream."""
    torch.manual_seed(0)
    fusion = GatedFusion(width=8, streams=3, mode=mode).double()
    parts = torch.randn(4, 7, 3, 8, dtype=torch.float64)
    h, gates = fusion(parts)
    assert h.shape == (4, 7, 8)
    torch.testing.assert_close(gates.sum(-1), torch.ones(4, 7, dtype=torch.float64))
    assert bool((gates > 0).all())
    with torch.no_grad():
        fusion.weight_S[1] += 5
    assert bool((fusion(parts).gates[..., 1] > gates[..., 1]).all())


def test_a_closed_gate_silences_a_stream() -> None:
    torch.manual_seed(0)
    fusion = GatedFusion(width=8, streams=2, mode="concat").double()
    with torch.no_grad():
        fusion.weight_S[0] = -800  # its share is zero, to the last bit
    parts = torch.randn(5, 2, 8, dtype=torch.float64)
    other = parts.clone()
    other[:, 0] += 3
    assert torch.equal(fusion(parts).h, fusion(other).h)


@pytest.mark.parametrize("length", [1, 2, 3, 30, 168, 252])
def test_pyramids_take_any_length(length: int) -> None:
    """Odd levels are no error, and the newest bar is in every level."""
    torch.manual_seed(0)
    block = BlockConfig(attn=AttnConfig(heads=2, d=4, causal=False))
    pyramid = Pyramid(block, width=8, levels=4).double().eval()
    x = torch.randn(2, length, 8, dtype=torch.float64)
    assert pyramid(x).shape == (2, 8)
    moved = x.clone()
    moved[:, -1] += 1
    assert not torch.allclose(pyramid(moved), pyramid(x))


def test_pairs_are_counted_from_the_newest() -> None:
    """Of three tokens the oldest stands alone, and the two newest are a pair."""
    block = BlockConfig(attn=AttnConfig(heads=1, d=8, causal=False))
    pyramid = Pyramid(block, width=8, levels=2).double().eval()
    seen: list[Tensor] = []
    first, second = pyramid.blocks
    first.forward = lambda h, site: h  # type: ignore[method-assign,assignment]
    second.forward = lambda h, site: seen.append(h) or h  # type: ignore[method-assign,assignment,func-returns-value]
    x = torch.randn(1, 3, 8, dtype=torch.float64)
    pyramid(x)
    torch.testing.assert_close(seen[0], torch.stack([x[:, 0], (x[:, 1] + x[:, 2]) / 2], dim=1))


@pytest.mark.parametrize("kind", ["last", "mean", "attention"])
def test_pools(kind: Literal["last", "mean", "attention"]) -> None:
    """A pool is a weighted mean of real tokens, wherever the padding stands and whatever it holds."""
    torch.manual_seed(0)
    pool = Pool(kind, 4).double()
    x = torch.randn(3, 5, 4, dtype=torch.float64)
    valid = torch.tensor([[True] * 5, [True, True, False, False, False], [False, False, True, True, True]])
    poisoned = torch.where(valid[..., None], x, torch.nan)
    made = pool(poisoned, Padding(valid))
    for row, real in enumerate((x[0], x[1, :2], x[2, 2:])):
        torch.testing.assert_close(made[row], pool(real[None])[0], rtol=0, atol=1e-12)
        weights = pool.weights(real[None])[0]
        torch.testing.assert_close(made[row], weights @ real, rtol=0, atol=1e-12)
    if kind == "last":
        assert torch.equal(pool(x), x[:, -1])


def test_variables_become_tokens() -> None:
    torch.manual_seed(0)
    embed = VariableEmbed(3, 4)
    x = torch.randn(2, 5, 3)
    made = embed(x)
    assert made.shape == (2, 5, 3, 4)
    torch.testing.assert_close(made[1, 2, 0], x[1, 2, 0] * embed.weight_VD[0] + embed.bias_VD[0])
