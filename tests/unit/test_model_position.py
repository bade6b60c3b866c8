"""Every kind of position: what it depends on, how exact it is, and how one is added."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import torch
from torch import Tensor

from bot.domain.errors import ConfigError, DataError
from models.attention.module import rotate
from models.config import PosConfig
from models.position import Clock, Composite, Position, Sizes, Tokens, build_position, register_position, rotation_of

SIZES = Sizes(width=16, heads=2, d=8, features=3)
HOUR_NS = 3_600_000_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def tokens(length: int = 6, *, first: int = 0, start: str = "2024-02-29T21:00:00", step_ns: int = HOUR_NS) -> Tokens:
    torch.manual_seed(0)
    start_ns = ns(start)
    return Tokens(
        index_BL=torch.arange(first, first + length)[None],
        end=first + length,
        time_ns_BL=start_ns + step_ns * torch.arange(length)[None],
        features_BLF=torch.randn(1, length, 3),
    )


def ns(text: str) -> int:
    return int((datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH) / timedelta(microseconds=1)) * 1000


def build(*kinds: str, **fields: object) -> Composite:
    torch.manual_seed(0)
    return build_position(PosConfig(kinds=kinds, **fields), SIZES)  # type: ignore[arg-type]


def phase(period: str, *times: str) -> list[float]:
    made: list[float] = Clock((period,))(torch.tensor([[ns(time) for time in times]]))[0, :, 0].tolist()
    return made


def test_phases_are_exact() -> None:
    """Phases are fractions of the calendar's own days, weeks, months and years, leap years and all."""
    assert phase("day", "2024-02-29T00:00:00", "2024-02-29T06:00:00") == [0.0, 0.25]
    assert phase("week", "2024-03-04T00:00:00", "2024-03-10T12:00:00") == [0.0, 6.5 / 7]  # a Monday, its Sunday
    assert phase("funding", "2024-03-04T16:00:00", "2024-03-04T18:00:00") == [0.0, 0.25]
    assert phase("4h", "2024-03-04T16:00:00", "2024-03-04T18:00:00") == [0.0, 0.5]
    assert phase("month", "2024-02-01T00:00:00", "2024-02-15T12:00:00") == [0.0, 14.5 / 29]
    assert phase("month", "2023-02-15T00:00:00") == [0.5]
    assert phase("year", "2024-01-01T00:00:00", "2024-12-31T00:00:00") == [0.0, 365 / 366]
    assert phase("year", "2023-12-31T00:00:00") == [364 / 365]


def test_phases_about_new_year() -> None:
    """A microsecond before it, every phase is less than one; a nanosecond after it, none is zero."""
    clock = Clock(("day", "month", "year"))
    midnight = ns("2025-01-01T00:00:00")
    before, at, after = clock(torch.tensor([[midnight - 1000, midnight, midnight + 1]]))[0]
    assert bool((before < 1).all())
    assert bool((before > 1 - 1e-9).all())
    assert at.tolist() == [0.0, 0.0, 0.0]
    assert bool((after > 0).all())


def test_the_order_of_periods_is_the_asked_one() -> None:
    when = torch.tensor([[ns("2024-05-17T05:00:00")]])
    names = ("month", "day", "year", "week")
    together = Clock(names)(when)[0, 0]
    assert together.tolist() == [float(Clock((name,))(when)) for name in names]


def test_times_that_are_no_nanoseconds_are_refused() -> None:
    with pytest.raises(DataError, match="outside the years 1970 to 2199"):
        Clock(("month",))(torch.tensor([[-1]]))
    with pytest.raises(DataError, match="are these nanoseconds"):
        Clock(("year",))(torch.tensor([[ns("2199-12-31T00:00:00") + 2 * 24 * HOUR_NS]]))


def test_a_calendar_closes_on_itself() -> None:
    """With the day's harmonics, a second after midnight is as near to midnight as a second before it."""
    made = build("calendar", periods={"day": 8}).double()
    at = tokens(3, start="2024-03-01T23:59:59", step_ns=1_000_000_000)
    embedded = made.embed(at)
    assert embedded is not None
    before, midnight, after = embedded[0].detach()
    torch.testing.assert_close((before - midnight).norm(), (after - midnight).norm(), rtol=1e-2, atol=0)
    next_day = made.embed(tokens(1, start="2024-03-03T00:00:00"))
    assert next_day is not None
    torch.testing.assert_close(next_day[0, 0], midnight, rtol=0, atol=1e-12)


def test_sinusoids() -> None:
    """Sines in the first half, cosines in the second, slower from column to column."""
    made = build("sinusoidal").embed(tokens(5))
    assert made is not None
    for index in range(5):
        for plane in range(8):
            angle = index * 10_000 ** (-plane / 8)
            assert made[0, index, plane].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert made[0, index, plane + 8].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_learned_positions_end() -> None:
    made = build("learned", length_max=8)
    embedded = made.embed(tokens(4, first=4))
    assert embedded is not None
    assert embedded.shape == (1, 4, 16)
    with pytest.raises(DataError, match="9 tokens, and learned positions for 8"):
        made.embed(tokens(4, first=5))


def test_rotary_depends_on_the_distance_alone() -> None:
    """Scores of two tokens do not change when both move, even by a billion bars: float64 angles need no new base."""
    torch.manual_seed(0)
    q, k = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)
    made = build("rotary")

    def score(first: int) -> float:
        pair = [made.place(tokens(1, first=first + distance)).rotation for distance in (37, 0)]
        turned = [rotate(x, rotation) for x, rotation in zip((q, k), pair, strict=True) if rotation is not None]
        return float((turned[0] * turned[1]).sum())

    for first in (1, 100_000, 10_000_000, 1_000_000_000):
        assert score(first) == pytest.approx(score(0), abs=1e-5)


def test_float32_angles_would_not_do() -> None:
    """The same with float32 angles is off by more than a hundredth after a hundred million bars."""
    torch.manual_seed(0)
    q, k = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)
    rates = torch.tensor([10_000 ** (-plane / 4) for plane in range(4)])

    def score(first: int) -> float:
        angles = [torch.tensor([[[float(first + distance)]]]) * rates for distance in (37, 0)]
        turned = [rotate(x, rotation_of(angle, x.dtype)) for x, angle in zip((q, k), angles, strict=True)]
        return float((turned[0] * turned[1]).sum())

    assert abs(score(100_000_000) - score(0)) > 1e-2


def test_a_cast_leaves_angles_alone() -> None:
    """In a bfloat16 model positions are as exact as before."""
    plain, cast = build("rotary", "alibi"), build("rotary", "alibi").to(torch.bfloat16)
    for left, right in zip(plain.place(tokens()).rotation or (), cast.place(tokens()).rotation or (), strict=True):
        assert torch.equal(left, right)
    slopes = cast.place(tokens()).slopes_H
    assert slopes is not None
    assert slopes.dtype is torch.float64


def test_alibi_slopes() -> None:
    """Halving from 2 ** -8/H on: 1/16 and 1/256 of two heads."""
    slopes = build("alibi").place(tokens()).slopes_H
    assert slopes is not None
    assert slopes.tolist() == [2**-4, 2**-8]


def test_cyclical_terms_are_cosines_of_the_difference() -> None:
    made = build("cyclical", periods={"day": 1, "month": 1}).double()
    with torch.no_grad():
        made.get_parameter("kinds.0.weights_HP").copy_(torch.tensor([[1.0, -0.5], [0.25, 2.0]]))
    at = tokens(30)
    place = made.place(at)
    assert place.q_terms_BLHE is not None
    assert place.k_terms_BL1E is not None
    scores = (place.q_terms_BLHE @ place.k_terms_BL1E.permute(0, 2, 3, 1).expand(1, 30, -1, -1)).detach()
    phases = Clock(("day", "month"))(at.time_ns_BL)[0].numpy()
    waves = np.cos(2 * np.pi * (phases[:, None] - phases[None]))
    expected = waves @ np.array([[1.0, -0.5], [0.25, 2.0]]).T
    np.testing.assert_allclose(scores[0].permute(0, 2, 1).numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["calendar", "time2vec", "context", "rotary", "alibi", "cyclical"])
def test_kinds_that_stream_do_not_know_their_number(kind: str) -> None:
    """What such a kind says of a token stays when the tokens are numbered from elsewhere."""
    made = build(kind)
    assert not made.counts_from_start
    near, far = made.embed(tokens(4)), made.embed(tokens(4, first=1000))
    assert (near is None) == (far is None)
    if near is not None and far is not None:
        assert torch.equal(near, far)


@pytest.mark.parametrize("kind", ["sinusoidal", "learned"])
def test_kinds_that_count_say_so(kind: str) -> None:
    made = build(kind)
    assert made.counts_from_start
    near, far = made.embed(tokens(4)), made.embed(tokens(4, first=10))
    assert near is not None
    assert far is not None
    assert not torch.equal(near, far)


def test_kinds_add_up() -> None:
    """Several kinds are the sum of each; what one says of scores is kept beside."""
    both = build("calendar", "context", "alibi", "rotary")
    parts = [made for made in both.kinds if isinstance(made, Position)]
    total = both.embed(tokens())
    each = [part.embed(tokens()) for part in parts]
    assert total is not None
    torch.testing.assert_close(total, sum(made for made in each if made is not None))
    place = both.place(tokens())
    assert place.slopes_H is not None
    assert place.rotation is not None


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="there is no 'polar'; choose of alibi, calendar"):
        build("polar")
    with pytest.raises(ConfigError, match="'calendar' needs one at least"):
        build("calendar", periods={})


def test_a_new_kind_is_one_registration() -> None:
    """A class registered here works by its name; and two that turn the same heads are refused."""

    class Reversed(Position):
        rotates = True

        def __init__(self, cfg: PosConfig, sizes: Sizes) -> None:
            super().__init__()
            self.width = sizes.width

        def embed(self, tokens: Tokens) -> Tensor:
            return -tokens.index_BL[..., None].expand(-1, -1, self.width).to(tokens.features_BLF.dtype)

    register_position("reversed-for-a-test", Reversed)
    made = build("reversed-for-a-test").embed(tokens(3))
    assert made is not None
    assert made[0, :, 0].tolist() == [0.0, -1.0, -2.0]
    with pytest.raises(ConfigError, match="turn the same heads twice"):
        build("rotary", "reversed-for-a-test")
    with pytest.raises(ValueError, match="two kinds of position"):
        register_position("reversed-for-a-test", Reversed)
