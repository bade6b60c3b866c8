"""The panel: what was computed is what is read, damage is found, normalisers know their own stretch alone."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from bot.domain.errors import ConfigError, DataError
from bot.domain.market import F64
from models.normalizer import Normalizer, TargetUnit, fit, fit_unit
from models.training.labels import returns_after
from models.training.panel import AssetPanel, Panel, Rows, open_panel, write_panel
from tests.support.training import MINUTE, instrument, random_walk

NAMES = ("a", "b")


def asset(name: str, seed: int) -> AssetPanel:
    bars = random_walk(300, seed=seed, of=instrument(name))
    values = np.random.default_rng(seed).normal(5, 2, (300, 2)).astype(np.float32)
    values[:10] = np.nan
    labels = returns_after(bars, bars, horizons_ns=[MINUTE], hole_max_ns=0)
    rows = Rows(close_ns=bars.close_ns, known_ns=bars.known_ns, values=values)
    return AssetPanel(instrument=bars.instrument, scales={"1m": rows}, labels=labels)


def written(root: Path) -> Path:
    assets = [asset("AAAUSDT", 1), asset("BBBUSDT", 2)]
    return write_panel(root, {"what": 1}, assets, names=NAMES, scales=["1m"], schema_hash="hash")


def test_round_trip(tmp_path: Path) -> None:
    """Every column comes back, mapped from the files and not writable."""
    panel = open_panel(written(tmp_path))
    assert (panel.names, panel.scales, panel.schema_hash) == (NAMES, ("1m",), "hash")
    for number, (name, found) in enumerate(zip(("AAAUSDT", "BBBUSDT"), panel.assets, strict=True), start=1):
        expected = asset(name, number)
        assert found.instrument == expected.instrument
        rows = found.scales["1m"]
        assert isinstance(rows.values, np.memmap)
        np.testing.assert_array_equal(rows.values, expected.scales["1m"].values)
        np.testing.assert_array_equal(rows.known_ns, expected.scales["1m"].known_ns)
        np.testing.assert_array_equal(found.labels.values, expected.labels.values)
        with pytest.raises(ValueError, match="read-only"):
            rows.values[0, 0] = 1


def test_it_is_computed_once(tmp_path: Path) -> None:
    """What is there is not computed again; another identity has another directory."""
    path = written(tmp_path)

    def never() -> AssetPanel:
        raise AssertionError("computed again")

    again = write_panel(
        tmp_path, {"what": 1}, (never() for _ in range(1)), names=NAMES, scales=["1m"], schema_hash="hash"
    )
    assert again == path
    other = write_panel(tmp_path, {"what": 2}, [asset("AAAUSDT", 1)], names=NAMES, scales=["1m"], schema_hash="hash")
    assert other != path


def test_a_crash_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    def broken():  # type: ignore[no-untyped-def]
        yield asset("AAAUSDT", 1)
        raise DataError("the market ends in the middle")

    with pytest.raises(DataError, match="in the middle"):
        write_panel(tmp_path, {"what": 1}, broken(), names=NAMES, scales=["1m"], schema_hash="hash")
    assert [each.suffix for each in tmp_path.iterdir()] == [".part"]
    open_panel(written(tmp_path))
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["0-s0-values.npy", "1-l-values.npy", "panel.json"])
def test_damage_is_found(tmp_path: Path, name: str) -> None:
    path = written(tmp_path)
    content = bytearray((path / name).read_bytes())
    content[-9] ^= 1
    (path / name).write_bytes(content)
    with pytest.raises(DataError, match="to compute it again"):
        open_panel(path)


def test_raw_rows_are_those_of_the_instrument(tmp_path: Path) -> None:
    """Row numbers run through all instruments, one after another."""
    panel = open_panel(written(tmp_path))
    at = np.array([[298, 299], [300, 301], [598, 599]])
    expected = np.concatenate([each.scales["1m"].values for each in panel.assets])[at]
    np.testing.assert_array_equal(panel.raw("1m", at), expected)


def fitted(panel: Panel, from_row: int, to_row: int) -> Normalizer:
    known_ns = panel.assets[0].scales["1m"].known_ns
    made, _ = panel.fit(from_ns=int(known_ns[from_row]), to_ns=int(known_ns[to_row]), kind="robust", limit=8.0)
    return made["1m"]


def test_the_normaliser_knows_its_stretch_alone(tmp_path: Path) -> None:
    """Centre and scale are those of the pooled rows of the stretch; whatever else changes, they do not."""
    panel = open_panel(written(tmp_path))
    made = fitted(panel, 20, 150)
    pooled = np.concatenate([each.scales["1m"].values[20:150] for each in panel.assets]).astype(np.float64)
    np.testing.assert_array_equal(made.center_F, np.median(pooled, axis=0).astype(np.float32))
    quarter = np.quantile(pooled, [0.25, 0.75], axis=0)
    np.testing.assert_allclose(made.scale_F, (quarter[1] - quarter[0]) / 1.3489795, rtol=1e-6)


def test_normalised_rows_are_the_same_one_by_one(tmp_path: Path) -> None:
    """Training normalises a year at once, trading a row: float32, the same bits; NaN stays, an infinity is limited."""
    made = fitted(open_panel(written(tmp_path)), 20, 150)
    values = np.random.default_rng(3).normal(5, 50, (200, 2))  # float64, as the live engine gives it
    values[3, 0], values[4, 1], values[5, 0] = np.nan, np.inf, 1e300
    whole = made.apply(values)
    assert whole.dtype == np.float32
    assert np.isnan(whole[3, 0])
    assert whole[4, 1] == whole[5, 0] == np.float32(8)
    assert b"".join(made.apply(row[None]).tobytes() for row in values) == whole.tobytes()


def test_a_feature_without_values_is_named() -> None:
    with pytest.raises(DataError, match="b has 0 values"):
        fit([(np.array([[1.0, np.nan]] * 5), np.arange(5))], NAMES, from_ns=0, to_ns=5, kind="standard", limit=8.0)


def test_units_give_targets_of_deviation_one() -> None:
    """By horizon, and relative to what was known of the volatility."""
    generator = np.random.default_rng(1)
    volatility = np.exp(generator.normal(-7, 1, 5000))
    returns = generator.normal(0, 1, (5000, 2)) * volatility[:, None] * np.array([1.0, 2.0])
    unit = fit_unit(
        returns, horizons_ns=[MINUTE, 4 * MINUTE], bar_ns=MINUTE, columns=["v"], volatility_NK=volatility[:, None]
    )
    assert unit.scale == pytest.approx((1.0, 1.0), rel=0.05)
    scaled = returns / unit.of(volatility[:, None], 5000)
    assert np.sqrt((scaled**2).mean(axis=0)) == pytest.approx([1.0, 1.0])
    fixed = fit_unit(returns, horizons_ns=[MINUTE, 4 * MINUTE], bar_ns=MINUTE)
    assert fixed.of(None, 3).shape == (3, 2)
    with pytest.raises(ConfigError, match="never move"):
        fit_unit(returns * 0, horizons_ns=[MINUTE, 4 * MINUTE], bar_ns=MINUTE)


def blend(rows: int = 6000) -> tuple[TargetUnit, F64, F64]:
    """Return a blend of two volatilities fitted where the truth is a product of their powers, them, and the truth."""
    generator = np.random.default_rng(2)
    log_NK = np.cumsum(generator.normal(0, 0.05, (rows, 2)), axis=0) * 0.3 - 7 + generator.normal(0, 0.3, (rows, 2))
    truth_NH = np.exp(log_NK @ np.array([[0.7, 0.2], [0.2, 0.7]])) * [1.5, 3.0]
    returns_NH = generator.normal(0, 1, (rows, 2)) * truth_NH
    unit = fit_unit(
        returns_NH,
        horizons_ns=[MINUTE, 4 * MINUTE],
        bar_ns=MINUTE,
        columns=["short", "long"],
        volatility_NK=np.exp(log_NK),
        variance_NH=returns_NH**2,  # one noisy square each: the powers must be found all the same
    )
    return unit, np.exp(log_NK), truth_NH


def test_a_blend_finds_the_powers() -> None:
    """Fitted by quasi-likelihood to single squared returns; the unit follows the true deviation."""
    unit, volatility_NK, truth_NH = blend()
    np.testing.assert_allclose(unit.powers, [[0.7, 0.2], [0.2, 0.7]], atol=0.12)
    np.testing.assert_allclose(unit.of(volatility_NK, 6000) / truth_NH, 1, atol=0.12)


def test_a_blend_is_the_same_row_by_row() -> None:
    """Training takes a year at once, trading a row: the same bits; and it reads its columns by name."""
    unit, volatility_NK, _ = blend(300)
    whole = unit.of(volatility_NK, 300)
    assert b"".join(unit.of(row[None], 1).tobytes() for row in volatility_NK) == whole.tobytes()
    shuffled = np.column_stack([volatility_NK[:, 1], np.zeros(300), volatility_NK[:, 0]])
    assert unit.read(["long", "else", "short"], shuffled).tobytes() == whole.tobytes()
    with pytest.raises(ConfigError, match="short is not among"):
        unit.read(["long"], shuffled)


def test_a_unit_survives_json_and_refuses_what_does_not_fit() -> None:
    unit, _, _ = blend(300)
    assert msgspec.json.decode(msgspec.json.encode(unit), type=TargetUnit) == unit
    for change in ({"powers": ()}, {"columns": ("short",)}, {"kind": "fixed"}, {"scale": (1.0, -1.0)}):
        with pytest.raises(ValueError, match="unit"):
            msgspec.structs.replace(unit, **change)
