"""A schema says exactly what is computed: its hash, its names, and one clear line for what it does not understand."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.bars import BarAggregator
from bot.core.features.catalogue import CATALOGUE
from bot.core.features.engine import FeatureEngine
from bot.core.features.expression import Node, column, ln
from bot.core.features.inputs import INPUTS
from bot.core.features.presets import PRESETS
from bot.core.features.schema import FeatureSchema, FeatureSpec
from bot.domain.market import BarBatch
from tests.support.batches import INSTRUMENT
from tests.support.examples import examples
from tests.support.feature_markets import made_bars

# A model's artefact names the hash of its schema, and is refused where the hash differs.
GOLDEN = {
    "multiscale": "54f3f49f25a28e897a876f0c7ccbd80d43994302d42f2b5cf47af2e6c9726ea3",
    "longctx": "82e97c62994761da6047f6b00709b3171f667cf8feb86763f8391584ecd3d41d",
    "quantile": "03998c6db2dab12874355dc0907f19039b268061b1695a4aa8cd15855b7fff95",
    "volatility_set": "0fed750c759e347be631da077fcfcab1a42e31d50b57f95b2d1fa046b0fbd154",
    "calendar_set": "9753c969a456f8cc5b64b62121b84001848e1303c4ccaebaa6746b1730187261",
    "reference_set": "bd9e0e163a920f364f7940fef6f7248169e474b20cb4db54e741a5b1d039321e",
    "ohlcv": "ab7d8e1a93338fb0ab79256795ae926322aeb627cd391f25982549fb1cf6543e",
    "wavelet_set": "43e7df372713521f6a0599fec0118c466672869bb4eb0c2e38e73692c432d178",
    "full": "4d12b612fb157e419b5a0cfa9b873f9c1d8c672cc63be287a9483b680e78938d",
}
ADVICE = (
    "\n\nThe formulas, parameters, units or names behind preset {name!r} are no longer what they were, and every model "
    "trained on it would be refused. If you did not mean to change them, undo it. If you did, put {hash!r} here, and "
    "say in the commit which features changed and that models must be trained anew."
)


MINUTE = 60_000_000_000


def schema(*features: str, scales: Sequence[str] = ("5m",), **clips: tuple[float, float]) -> FeatureSchema:
    return FeatureSchema(features, scales, clips)


def bars_at(bars: BarBatch, scale_ns: int) -> BarBatch:
    aggregator = BarAggregator(
        bars.instrument, scales_ns=[scale_ns], lateness_ns=0, gap_max_ns=2**61, source_scale_ns=bars.scale_ns
    )
    return aggregator.on_bars(bars).bars[scale_ns]


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


@pytest.mark.parametrize("feature", ["full", "funding_clock", "realised_volatility", "rsi"])
def test_another_funding_interval_or_other_smallest_bars_are_another_schema(feature: str) -> None:
    """Two runs that differ in either never share a model; what is left out has the hash of its default."""
    hour = 60 * MINUTE
    plain = FeatureSchema([feature], ["5m", "1h"])
    assert plain.hash == FeatureSchema([feature], ["5m", "1h"], funding_interval_ns=8 * hour).hash
    assert plain.hash == FeatureSchema([feature], ["5m", "1h"], finest_ns=5 * MINUTE).hash
    others = {
        FeatureSchema([feature], ["5m", "1h"], funding_interval_ns=interval, finest_ns=finest).hash
        for interval in (hour, 4 * hour, 8 * hour)
        for finest in (MINUTE, 5 * MINUTE)
    }
    assert len(others) == 6
    assert plain.hash in others


def test_what_has_another_hash_says_other_things() -> None:
    """The same bars under another funding interval or of other smallest bars give other features."""
    minutes = made_bars(5, 120, scale_ns=MINUTE)
    fives = bars_at(minutes, 5 * MINUTE)
    values = {}
    for interval in (60 * MINUTE, 480 * MINUTE):
        for finest_ns in (MINUTE, 5 * MINUTE):
            made = FeatureSchema(
                ["funding_clock", "realised_volatility"], ["5m"], funding_interval_ns=interval, finest_ns=finest_ns
            )
            features = FeatureEngine(made, minutes.instrument).on_bars([minutes, fives])["5m"]
            assert features.schema_hash == made.hash
            values[made.hash] = features.values.tobytes()
    assert len(set(values.values())) == len(values) == 4


def test_event_bars_alone_have_no_smallest_bars() -> None:
    made = FeatureSchema(["realised_volatility"], ["volume:100"])
    assert made.finest_ns is None
    assert json.loads(made.to_json())["finest_ns"] is None
    assert FeatureSchema.from_json(made.to_json()).hash == made.hash
    assert FeatureSchema(["realised_volatility"], ["volume:100"], finest_ns=MINUTE).hash != made.hash


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
    assert set(told) == {"features", "finest_ns", "format", "funding_interval_ns"}
    assert (told["format"], told["finest_ns"], told["funding_interval_ns"]) == (2, MINUTE, 480 * MINUTE)
    read = msgspec.convert(told["features"], type=list[FeatureSpec])
    assert tuple(read) == made.specs


@pytest.mark.parametrize("name", PRESETS)
def test_a_schema_is_read_back_from_its_json(name: str) -> None:
    """With scales, clips, intervals and all: what was written computes what was meant."""
    made = FeatureSchema(
        [name, "bollinger('lower', 20, 2.5)"],
        ["volume:100", "15m", "1h"],
        {"bollinger_lower_20_2_5": (-1.5, 2.0)},
        funding_interval_ns=240 * MINUTE,
        finest_ns=MINUTE,
    )
    read = FeatureSchema.from_json(made.to_json())
    assert read.to_json() == made.to_json()
    assert (read.hash, read.names, read.scales, read.inputs) == (made.hash, made.names, made.scales, made.inputs)
    assert (read.specs, read.formulas) == (made.specs, made.formulas)
    assert (read.funding_interval_ns, read.finest_ns) == (240 * MINUTE, MINUTE)


def test_a_schema_that_would_be_computed_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An artefact from a program whose formula was another one, or from another format."""
    text = schema("volatility", "rsi", scales=["1m", "5m"]).to_json()
    entry = CATALOGUE["rsi"]
    with monkeypatch.context() as patched:
        patched.setitem(CATALOGUE, "rsi", replace(entry, build=lambda bars: entry.build(bars) * 100.0))
        with pytest.raises(ValueError, match="rsi_14 at 1m is computed otherwise"):
            FeatureSchema.from_json(text)
    for other in (b'{"features":[],"format":1}', text.replace(b'"format":2', b'"format":3')):
        with pytest.raises(ValueError, match=r"of format [13]; this program reads format 2"):
            FeatureSchema.from_json(other)


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (b'"scale":"5m"', b'"scale":"1m"'),  # the columns of one scale twice
        (b'"formula_id":"rsi"', b'"formula_id":"rsy"'),
        (b'"formula_id":"rsi"', b'"formula_id":"rsi(1) or x"'),
        (b'"bars":14', b'"bars":15'),  # another window than the formula's
        (b'"bars":14', b'"bars":"14)#"'),
        (b'"bars":14', b'"bars":1e99'),
        (b'"warmup":', b'"warmup": '),  # not as it is written
        (b'"finest_ns":60000000000,', b""),
        (b'"finest_ns":60000000000', b'"finest_ns":0'),
        (b'"finest_ns":60000000000', b'"finest_ns":9223372036854775808'),
        (b'"funding_interval_ns":28800000000000', b'"funding_interval_ns":-1'),
        (b'"funding_interval_ns":28800000000000', b'"funding_interval_ns":null'),
        (b'"format":2', b'"format":2,"more":1'),
        (b'"clip":null', b'"clip":[0.0,1.0]'),  # of one scale and not of the others
        (b"}", b""),
        (b"{", b"\xff"),
    ],
)
def test_a_damaged_schema_is_refused_in_one_line(was: bytes, becomes: bytes) -> None:
    text = schema("volatility", "rsi", scales=["1m", "5m"]).to_json()
    assert was in text
    with pytest.raises(ValueError, match=r".") as caught:
        FeatureSchema.from_json(text.replace(was, becomes, 1))
    assert "\n" not in str(caught.value)


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


@pytest.mark.parametrize("length_ns", [0, -1, 2**63])
def test_lengths_that_cannot_be_are_refused(length_ns: int) -> None:
    with pytest.raises(ValueError, match=r"funding interval of .* use a length above zero"):
        FeatureSchema(["rsi"], ["5m"], funding_interval_ns=length_ns)
    with pytest.raises(ValueError, match=r"smallest bars of .* use a length above zero"):
        FeatureSchema(["rsi"], ["5m"], finest_ns=length_ns)


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
@settings(max_examples=examples(150), deadline=None)
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
