"""A schema says exactly what is computed: its hash, its names, and one clear line for what it does not understand."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.features.catalogue import CATALOGUE
from bot.core.features.engine import FeatureEngine
from bot.core.features.expression import Node, column, ln
from bot.core.features.inputs import INPUTS
from bot.core.features.presets import PRESETS
from bot.core.features.schema import FeatureSchema, FeatureSpec
from tests.support.batches import INSTRUMENT

# A model's artefact names the hash of its schema, and is refused where the hash differs.
GOLDEN = {
    "multiscale": "eccc488a96e9eaa4cd8c8814fefed854095031429f447b02dabf57332f81ce79",
    "longctx": "f158db9c08ddd46252c63f896d0fce4361afa17e13a36b56b8a635ae32ce5c16",
    "quantile": "383032b135c7894ba16748e3e5005aee6256c8322cc9ada491e0e3e4a8b2d31d",
    "volatility_set": "447db64b3557554df4398ef827f784adaef620dce9ca788b12bc1fd346870c55",
    "calendar_set": "ab1f1dd7c03ddf9b6dd182ab245b3e033f9a4beac5c561d7b2938b5122d15fb2",
    "reference_set": "9b0da19c186dc139622c37bc033a7a1a4299323915b79b50cd3c0d8f20a56e78",
    "ohlcv": "899174d498e5df6fee40893975e2e0c97ce42ea09752a6f6f72916a884752ddf",
    "wavelet_set": "4e55b864651a8657d48c9e217be7047fa5f9ddbe92aa6ee9851da3424988adc9",
    "full": "1bbe697659fa2c8e6d059fde17c98764366de7b599e406a3ce5213eeee5a8a2f",
}
ADVICE = (
    "\n\nThe formulas, parameters, units or names behind preset {name!r} are no longer what they were, and every model "
    "trained on it would be refused. If you did not mean to change them, undo it. If you did, put {hash!r} here, and "
    "say in the commit which features changed and that models must be trained anew."
)


def schema(*features: str, scales: Sequence[str] = ("5m",), **clips: tuple[float, float]) -> FeatureSchema:
    return FeatureSchema(features, scales, clips)


# --- hash -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_the_hash_of_a_preset_is_known(name: str) -> None:
    """On scales 1m and 1h; an unintended change of a formula must not pass unseen."""
    now = FeatureSchema([name], ["1m", "1h"]).hash
    assert now == GOLDEN.get(name), ADVICE.format(name=name, hash=now)


def test_every_preset_has_its_hash_pinned() -> None:
    assert set(GOLDEN) == set(PRESETS)
    assert len(set(GOLDEN.values())) == len(GOLDEN)


def test_what_is_equal_has_an_equal_hash() -> None:
    """However it is spelled, from names or from presets, in lists or in tuples."""
    told = schema("volatility(20)", "bollinger('upper', 20, 2)", volatility_20=(0.0, 1.0))
    for same in (
        schema("volatility", "bollinger", volatility_20=(0.0, 1.0)),
        schema(" volatility( bars = 20 ) ", 'bollinger("upper")', volatility_20=(0.0, 1.0)),
        schema("volatility(20.0)", "bollinger(width=2.0, band=upper)", volatility_20=(0.0, 1.0)),
        FeatureSchema(("volatility()", "bollinger(bars=20)"), ("5m",), {"volatility_20": (0.0, 1.0)}),
    ):
        assert same.hash == told.hash
        assert same.to_json() == told.to_json()
    assert schema("reference_set").hash == schema(*PRESETS["reference_set"]).hash
    assert schema("reference_set", "reference_beta").hash == schema("reference_set").hash


def test_what_differs_has_another_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Order, parameter, scale, order of scales, clip, and the formula behind a name that stays."""
    plain = schema("rsi", "volatility")
    others = [
        schema("volatility", "rsi"),
        schema("rsi", "volatility(21)"),
        schema("rsi(15)", "volatility"),
        schema("rsi"),
        schema("rsi", "volatility", "log_return"),
        schema("rsi", "volatility", scales=["1m"]),
        schema("rsi", "volatility", scales=["5m", "1m"]),
        schema("rsi", "volatility", scales=["1m", "5m"]),
        schema("rsi", "volatility", scales=["volume:5"]),
        schema("rsi", "volatility", rsi_14=(-1.0, 1.0)),
        schema("rsi", "volatility", rsi_14=(-1.0, 0.5)),
        schema("rsi", "volatility", volatility_20=(-1.0, 1.0)),
    ]
    entry = CATALOGUE["rsi"]
    monkeypatch.setitem(CATALOGUE, "rsi", replace(entry, build=lambda bars: entry.build(bars) * 100.0))
    others.append(schema("rsi", "volatility"))
    monkeypatch.setitem(CATALOGUE, "rsi", replace(entry, unit="percent"))
    others.append(schema("rsi", "volatility"))
    hashes = {plain.hash, *(other.hash for other in others)}
    assert len(hashes) == 1 + len(others)


def test_a_clip_in_whole_numbers_is_the_same_clip() -> None:
    assert schema("rsi", rsi_14=(-1, 1)).hash == schema("rsi", rsi_14=(-1.0, 1.0)).hash


def test_the_hash_is_of_canonical_json() -> None:
    """Keys sorted, no blanks, one text for one schema, and all that a reader needs is in it."""
    made = schema("full", scales=["1m", "4h"], close_position=(0.1, 0.9))
    told = json.loads(made.to_json())
    assert json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() == made.to_json()
    assert [(each["scale"], each["name"]) for each in told["features"]] == [
        (scale, name) for scale in ("1m", "4h") for name in made.names
    ]
    assert msgspec.json.decode(made.to_json())["format"] == 1
    read = msgspec.convert(told["features"], type=list[FeatureSpec])
    assert tuple(read) == made.specs


def test_different_formulas_have_different_texts() -> None:
    """Order of arguments, of operations and of parameters, and numbers to their last bit."""
    x, y = column("close"), column("open")
    formulas: list[Node] = [
        x - y,
        y - x,
        x / y,
        x + y,
        ln(x) - y,
        ln(x - y),
        (x - y) - y,
        x - (y - y),
        x * 0.1,
        x * 0.1000000000000001,
        0.1 * x,
        x * 10.0,
    ]
    assert len({str(each) for each in formulas}) == len(formulas)


def test_a_spec_says_what_its_formula_says() -> None:
    made = schema("macd_signal(3, 5, 2)", "trade_size", macd_signal_3_5_2=(-1.0, 1.0))
    signal, size = made.specs
    assert signal.params == {"fast": 3, "slow": 5, "signal": 2}
    assert signal.inputs == ("close",)
    assert signal.clip == (-1.0, 1.0)
    assert signal.is_recursive
    assert signal.from_klines
    assert signal.formula_id == "macd_signal"
    assert signal.formula == str(CATALOGUE["macd_signal"].build(3, 5, 2))
    assert size.inputs == ("count", "volume")
    assert not size.is_recursive
    assert not size.from_klines
    assert made.inputs == tuple(name for name in INPUTS if name in ("close", "volume", "count"))
    assert made.warmup == max(signal.warmup, size.warmup)


# --- names ------------------------------------------------------------------------------------------------------------


def test_no_two_columns_of_all_presets_have_one_name() -> None:
    """Each alone, and all in one schema."""
    everything = FeatureSchema(list(PRESETS), ["1m"])
    assert len(set(everything.names)) == len(everything.names)
    assert set(everything.names) == {name for each in PRESETS for name in FeatureSchema([each], ["1m"]).names}
    assert len(set(map(str, everything.formulas))) == len(everything.formulas), "two names for one formula"


def test_every_column_is_named_after_its_feature_and_parameters() -> None:
    assert schema(
        "volatility", "bollinger", "bollinger('lower', 20, 2.5)", "ewma_volatility", "spread_proxy"
    ).names == (
        "volatility_20",
        "bollinger_upper",
        "bollinger_lower_20_2_5",
        "ewma_volatility_0_94",
        "spread_proxy",
    )


def test_the_full_set_holds_every_other_but_the_references() -> None:
    """All that the bars, the clock and the funding history give."""
    full = set(FeatureSchema(["full"], ["1m"]).names)
    for name in ("multiscale", "longctx", "quantile", "volatility_set", "calendar_set", "wavelet_set"):
        assert set(FeatureSchema([name], ["1m"]).names) <= full, name


# --- errors -----------------------------------------------------------------------------------------------------------


def refusal(features: Sequence[str], scales: Sequence[str] = ("5m",), clips: Mapping[str, Any] | None = None) -> str:
    """Return the one line by which a schema is refused."""
    with pytest.raises(ValueError, match=r".") as caught:
        FeatureSchema(features, scales, clips)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


@pytest.mark.parametrize(
    ("feature", "says"),
    [
        ("volatilty(20)", "no feature is named volatilty; near it: volatility"),
        ("", "write a name"),
        ("Volatility", "write a name"),
        ("volatility[20]", "write a name"),
        ("volatility(20", "write a name"),
        ("volatility 20", "write a name"),
        ("volatility(20\n)", "write a name"),
        ("volatility(20, 3)", "takes 1 parameters: bars"),
        ("open_return(3)", "takes 0 parameters: none"),
        ("open_return(bars=3)", "has no parameter 'bars'; it has none"),
        ("volatility(length=20)", "has no parameter 'length'; it has bars"),
        ("volatility(2.5)", "2.5 is not a whole number"),
        ("volatility('20')", "'20' is not a whole number"),
        ("volatility(True)", "True is not a whole number"),
        ("volatility(None)", "None is not a whole number"),
        ("volatility(twenty)", "twenty is not a whole number"),
        ("volatility(10 + 10)", "10 + 10 is not a whole number"),
        ("volatility(1)", "a window of 1 bars: use a whole number from 2"),
        ("volatility(0)", "a window of 0 bars"),
        ("volatility(-3)", "a window of -3 bars"),
        ("volatility(100001)", "to 100000"),
        ("log_return(0)", "a window of 0 bars: use a whole number from 1"),
        ("ewma_volatility(1.0)", "0 < alpha <= 1"),
        ("ewma_volatility(-0.5)", "0 < alpha <= 1"),
        ("ewma_volatility('much')", "'much' is not a number"),
        ("ewma_volatility(nan)", "nan is not a number"),
        ("price('middle')", "price of 'middle': use open, high, low or close"),
        ("price(3)", "use open, high, low or close"),
        ("bollinger('top')", "use upper, middle or lower"),
        ("time_of_day('saw')", "use sin or cos"),
        ("time_of_day('sin', 0)", "whole numbers from 1"),
        ("book('book_depth')", "no book column is named 'book_depth'; there are book_"),
        ("wavelet_detail(0)", "use 1 to 12"),
        ("wavelet_component(5, 4)", "use 0 to 4"),
        ("vmd_mode(4, 4)", "use 0 to 3"),
    ],
)
def test_a_feature_that_is_not_understood_is_refused_in_one_line(feature: str, says: str) -> None:
    assert says in refusal([feature])


@pytest.mark.parametrize(
    "feature",
    [
        "rsi_wilder(0)",  # the newest value would weigh one part of nothing
        "volatility(1e999)",  # infinitely long
        "volatility({[]: 1})",  # no value even in Python
        "volatility((20)",  # a bracket or quote that does not close
        "volatility()) )",  # a bracket or quote that does not close
        'price("""close)',  # a bracket or quote that does not close
        "rsi_wilder(" + 400 * "9" + ")",  # more digits than a number takes
        "rsi_wilder(1e300)",  # hidden for longer than there are bars
        "bollinger('upper', 20, 1e999)",  # infinitely wide
        "volatility(20, bars=5)",  # one parameter twice
        "bollinger(bars=30, 10)",  # one parameter twice
        "vmd_mode(0, 4, 127)",  # the window must be even
        "vmd_mode(0, 11)",  # more modes than are of use
        "wavelet_component(0, 4, 16)",  # too short for so many levels
        "wavelet_component(0, 4, 128, 'db0')",  # no such wavelet
    ],
)
def test_a_feature_that_cannot_be_is_refused_in_one_line(feature: str) -> None:
    """As `FeatureSchema` promises for parameters that are impossible, before anything is computed."""
    assert "feature" in refusal([feature])


@pytest.mark.parametrize(
    ("features", "scales", "clips", "says"),
    [
        ([], ["5m"], None, "at least one feature and one scale"),
        (["rsi"], [], None, "at least one feature and one scale"),
        (["rsi"], ["5"], None, "'5' is not a duration"),
        (["rsi"], ["0m"], None, "scale '0m': bars need a length"),
        (["rsi"], ["-5m"], None, "is not a duration"),
        (["rsi"], ["5m", "5m"], None, "two scales are named 5m"),
        (["rsi", "rsi(14)"], ["5m"], None, "two columns are named rsi_14"),
        (["volatility(20)", "volatility"], ["5m"], None, "two columns are named volatility_20"),
        (["rsi"], ["5m"], {"rsi": (0.0, 1.0)}, "clips for rsi: no such column; there are rsi_14"),
        (["rsi"], ["5m"], {"rsi_14": (1.0, 0.0)}, "a clip from 1.0 to 0.0 leaves nothing"),
        (["rsi"], ["5m"], {"rsi_14": (0.0, 0.0)}, "leaves nothing"),
        (["rsi"], ["5m"], {"rsi_14": (float("nan"), 0.0)}, "leaves nothing"),
    ],
)
def test_a_schema_that_cannot_be_is_refused_in_one_line(
    features: list[str], scales: list[str], clips: dict[str, tuple[float, float]] | None, says: str
) -> None:
    assert says in refusal(features, scales, clips)


@pytest.mark.parametrize(
    "scales",
    [
        ["60s", "1m"],  # one length twice
        ["volume:100", "volume:100.0"],  # one rule twice
        ["volume:"],
        ["weight:5"],
        ["volume: 100"],  # not as its bars spell it
    ],
)
def test_a_scale_that_no_bar_could_meet_is_refused_or_put_right(scales: list[str]) -> None:
    try:
        made = FeatureSchema(["rsi"], scales)
    except ValueError:
        return
    assert made.scales == ("volume:100",)


def test_one_length_in_two_spellings_is_one_scale() -> None:
    assert schema("rsi", scales=["60s"]).hash == schema("rsi", scales=["1m"]).hash


_NAMES = st.sampled_from(list(CATALOGUE))
_NUMBERS = ("20", "-1", "0", "1e5", "1e999", "0.5", "99999", "5e-324", "1j", "nan")
_WORDS = ("None", "not", "'upper'", "'sin'", "b''", "bars=", "x=", "é")
_MARKS = ("=", ",", "(", ")", "()", "[", "}", "'", '"', '"""', "\\", "\n", "#", "*", "-", " ")
_PARTS = st.sampled_from((*_NUMBERS, *_WORDS, *_MARKS))


@given(
    text=st.one_of(st.text(max_size=30), st.builds("{}({})".format, _NAMES, st.lists(_PARTS, max_size=6).map("".join)))
)
@settings(max_examples=150, deadline=None)
def test_any_text_is_a_feature_that_can_be_computed_or_refused_in_one_line(text: str) -> None:
    """No text ends in a traceback, and none is taken that fails at the first bar."""
    made, complaint = None, ""
    try:
        made = FeatureSchema([text], ["1m"])
    except ValueError as error:
        complaint = str(error)
    if made is None:
        assert complaint
        assert "\n" not in complaint
    else:
        assert made.warmup < 10**6
        FeatureEngine(made, INSTRUMENT)
