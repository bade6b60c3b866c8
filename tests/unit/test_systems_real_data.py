"""The flagship on a month of a real market: one pass, any cut, and a changed future say the same."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from models.inputs import ModelInput, ScaleInput
from models.presets import preset
from models.registry import build
from models.systems.causal import CausalSystem
from tests.support.encoders import relative_error
from tests.support.systems import with_x
from tests.support.training import HOUR, MINUTE, features_of, fold, real_bars

SCALES = {"5m": 5 * MINUTE, "15m": 15 * MINUTE, "1h": HOUR}
BARS = 3000  # of five minutes
LATE_NS = 2 * 10**9


@pytest.fixture(scope="module")
def market() -> ModelInput:
    """Return two log returns a bar of BTCUSDT, in units of their deviation, and a decision at each five minutes."""
    bars = real_bars(
        "BTCUSDT", "btcusdt_bybit_linear_5m_2025-01_2025-08.parquet", scale_ns=SCALES["5m"], tick_size="0.1"
    ).rows(0, BARS)
    scales: dict[str, ScaleInput] = {}
    for bar, batch in fold(bars, *SCALES.values()).items():
        name = next(key for key, length in SCALES.items() if length == bar)
        closes = np.log(batch.close_ticks)
        made = features_of(
            batch, name, [np.diff(closes, prepend=closes[0]), np.log(batch.high_ticks / batch.low_ticks)]
        )
        x = torch.from_numpy(made.values / made.values.std(axis=0)).float()[None]
        close_ns = torch.from_numpy(batch.close_ns.copy())[None]
        scales[name] = ScaleInput(x_BLF=x, close_ns_BL=close_ns, known_ns_BL=close_ns + LATE_NS)
    return ModelInput(scales={name: scales[name] for name in SCALES}, decision_ns_BT=_decisions(scales["5m"]))


def _decisions(five: ScaleInput) -> Tensor:
    return five.known_ns_BL[:, 800:]


@pytest.fixture(scope="module")
def model() -> CausalSystem:
    made = build(preset("flagship-small", dict.fromkeys(SCALES, ("log_return", "range")), horizons=("1h",))).eval()
    assert isinstance(made, CausalSystem)
    return made


def _piece(market: ModelInput, after_ns: int, until_ns: int) -> ModelInput:
    scales = {}
    for name, each in market.scales.items():
        inside = (each.known_ns_BL[0] > after_ns) & (each.known_ns_BL[0] <= until_ns)
        if inside.any():
            columns = (column[:, inside] for column in (each.x_BLF, each.close_ns_BL, each.known_ns_BL))
            scales[name] = ScaleInput(**dict(zip(("x_BLF", "close_ns_BL", "known_ns_BL"), columns, strict=True)))
    at = market.decision_ns_BT[0]
    return ModelInput(scales=scales, decision_ns_BT=at[(at > after_ns) & (at <= until_ns)][None])


def test_one_pass_is_what_any_cut_says(market: ModelInput, model: CausalSystem) -> None:
    """In float32: 2,200 decisions at once, and in chunks between 1 and 300 decisions."""
    draws = np.random.default_rng(0)
    at = market.decision_ns_BT[0].tolist()
    edges = [0, at[0]]
    place = 0
    while place < len(at) - 1:
        place = min(len(at) - 1, place + int(draws.choice([1, 2, 17, 300])))
        edges.append(at[place])
    with torch.no_grad():
        once = model(market).asked()
    state = model.start(1)
    parts = [model.prefill(_piece(market, *pair), state).asked() for pair in itertools.pairwise(edges)]
    for name, value in once.items():
        assert relative_error(torch.cat([part[name] for part in parts], dim=1), value) < 1e-5, name


def test_a_changed_future_changes_nothing_before(market: ModelInput, model: CausalSystem) -> None:
    """To the bit, on every scale at once."""
    cut = 1500
    at = int(market.decision_ns_BT[0, cut])
    changed = {}
    for name, each in market.scales.items():
        x = each.x_BLF.clone()
        x[:, each.known_ns_BL[0] > at] *= -7
        changed[name] = x
    with torch.no_grad():
        before, after = model(market).asked(), model(with_x(market, changed)).asked()
    for name, value in before.items():
        assert torch.equal(value[:, : cut + 1], after[name][:, : cut + 1]), name
        assert not torch.equal(value[:, cut + 1], after[name][:, cut + 1]), name
