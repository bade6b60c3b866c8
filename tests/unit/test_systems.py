"""Whole networks: what they answer, what each refuses, and the traps of their sources."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from bot.domain.errors import ConfigError, DataError
from models.config import HeadConfig, from_json, to_json
from models.inputs import ModelInput, ScaleInput
from models.output import ModelOutput
from models.presets import lengths, names, preset
from models.registry import build, describe, entries, entry
from models.systems.causal import CausalSystem
from tests.support.encoders import relative_error
from tests.support.systems import (
    ALLOCATION,
    ASSETS,
    CONFIGS,
    END,
    FIRST,
    HORIZONS,
    LATE_NS,
    MINUTE,
    START_NS,
    STREAMING,
    inputs,
    scale,
    system,
    with_x,
)

# With 16 features a scale and one horizon.
PARAMETERS = {
    "flagship-full": 2_741_136,
    "flagship-small": 91_214,
    "multiscale": 465_290,
    "multiscale-attention": 447_554,
    "multiscale-gates": 456_551,
    "hierarchical": 322_182,
    "longctx-regression": 4_776_449,
    "longctx-direction": 4_776_449,
    "longctx-allocation": 4_776_450,
    "trading": 87_024,
    "orderbook": 205_511,
    "portfolio": 204_936,
    "portfolio-risk": 205_325,
    "migt": 309_176,
    "migt-full": 4_774_712,
    "lstm": 1_374_721,
    "patchtst": 300_774,
    "itransformer": 172_518,
    "dlinear": 590_278,
    "multiscale-small": 92_270,
    "longctx-small": 41_640,
    "migt-small": 12_056,
    "lstm-small": 13_112,
    "patchtst-small": 38_984,
    "dlinear-small": 49_448,
    "price-predictor": 3_195_144,
    "signal-generator": 3_193_859,
    "risk-assessor": 3_195_915,
    "portfolio-optimizer": 204_611,
}


def _features(name: str, count: int = 16) -> dict[str, tuple[str, ...]]:
    return {f"{n + 1}m": tuple(f"f{k}" for k in range(count)) for n in range(len(lengths(name)))}


@pytest.mark.parametrize("name", names())
def test_parameter_counts_are_pinned(name: str) -> None:
    assert describe(preset(name, _features(name))).parameters == PARAMETERS[name]


def test_presets_are_configurations_like_any_other() -> None:
    """They survive JSON, and between them they ask every system."""
    made = [preset(name, _features(name)) for name in names()]
    assert all(from_json(to_json(cfg)) == cfg for cfg in made)
    assert {cfg.system for cfg in made} == {each.name for each in entries()}
    with pytest.raises(ConfigError, match="choose of flagship-full"):
        preset("magic", {"1m": ("a",)})
    with pytest.raises(ConfigError, match="has 4 scales"):
        preset("flagship-full", {"1m": ("a",)})


def test_the_lstm_has_the_sources_parameters_less_the_bias_that_cancels() -> None:
    """S4 with 95 features is 1,455,618, attention included, and not 2,563,841 as it says."""
    assert describe(preset("lstm", _features("lstm", 95))).parameters == 1_455_618 - 1


def test_nothing_is_called_proven_before_it_is() -> None:
    """No results table is committed, so every network is research, or there to be beaten."""
    assert {each.label for each in entries()} == {"research", "baseline"}
    assert {each.name for each in entries() if each.reads == "stretches"} == {CONFIGS[n].system for n in STREAMING}
    with pytest.raises(ConfigError, match="choose of dlinear"):
        entry("magic")


def test_first_weights_are_the_seeds_and_nobody_elses_draws_move() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, two = build(CONFIGS["flagship"]), build(CONFIGS["flagship"])
    assert torch.equal(torch.rand(3), expected)
    other = build(msgspec.structs.replace(CONFIGS["flagship"], seed=1))
    weights = [next(each.parameters()) for each in (one, two, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("name", CONFIGS)
def test_answers_are_all_that_was_asked_at_every_decision(name: str) -> None:
    told = inputs(name)
    with torch.no_grad():
        made = system(name)(told)
    gives = describe(CONFIGS[name]).gives
    asked = made.asked()
    assert set(asked) - {"importance"} == set(gives)
    assert all(value.shape[:2] == told.decision_ns_BT.shape for value in asked.values())
    assert all(torch.isfinite(value).all() for value in asked.values())
    assert made.quantiles is not None
    assert (made.quantiles.diff(dim=-1) >= 0).all()
    if made.importance is not None:
        assert made.importance.shape[-1] == len(CONFIGS[name].scales)
        torch.testing.assert_close(made.importance.sum(dim=-1), torch.ones(told.decision_ns_BT.shape))
    else:
        assert len(CONFIGS[name].scales) == 1


def _sum(made: ModelOutput) -> torch.Tensor:
    return torch.stack(
        [
            (value * torch.linspace(1, 2, value.numel()).view(value.shape)).sum()
            for value in made.asked().values()
            if value.requires_grad
        ]
    ).sum()


def _all_of(name: str) -> ModelInput:
    """Return an input with everything optional in it."""
    told = inputs(name)
    told = replace(told, asset_B=torch.tensor([0, 3]))
    if CONFIGS[name].system == "portfolio":
        held = torch.rand(*told.decision_ns_BT.shape, ASSETS, generator=torch.Generator().manual_seed(0))
        present = torch.ones(told.scales["1m"].x_BLF.shape[:3], dtype=torch.bool)
        present[:, :, 1] = False
        scales = {"1m": _with(told.scales["1m"], present_BLV=present)}
        told = replace(told, scales=scales, current_weights_BTA=held)
    return told


def _with(each: ScaleInput, **more: Any) -> ScaleInput:
    fields = {name: getattr(each, name) for name in ("x_BLF", "close_ns_BL", "known_ns_BL", "valid_BL", "present_BLV")}
    return ScaleInput(**(fields | more))


@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_reach_every_parameter(name: str) -> None:
    """None is left out of the answer, the tokens of what is absent included."""
    model = system(name)
    _sum(model(_all_of(name))).backward()  # type: ignore[no-untyped-call]
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.abs().max() > 0, key


def _signal(name: str, rows: int) -> tuple[ModelInput, torch.Tensor]:
    """Return inputs whose newest bar of the first scale says which way the price goes, and that."""
    told = inputs(name, rows=rows)
    bar = CONFIGS[name].scales[0].bar
    given = told.scales[bar]
    newest = given.known_by(told.decision_ns_BT) - 1
    x = given.x_BLF
    said = (x[..., 0] if x.dim() == 3 else x[..., 0, 0]).gather(1, newest)
    return told, said.sign()


@pytest.mark.parametrize("name", CONFIGS)
def test_a_tiny_signal_is_learned(name: str) -> None:
    """The squared error of the median falls below a third of the signal's own variance within 300 steps."""
    cfg = msgspec.structs.replace(CONFIGS[name], heads=(HeadConfig(kind="quantile", horizons=("5m",)),))
    rows = 2 if name in STREAMING else 24
    told, target = _signal(name, rows)
    model = build(cfg).train()
    descent = torch.optim.Adam(model.parameters(), lr=0.01)
    error = torch.tensor(torch.inf)
    for _ in range(300):
        descent.zero_grad()
        quantiles = model(told).quantiles
        assert quantiles is not None
        median = quantiles[..., 0, 2]
        if median.dim() == 3:  # of the first asset
            median = median[..., 0]
        error = (median - target).square().mean()
        if float(error.detach()) < 0.3:
            break
        error.backward()  # type: ignore[no-untyped-call]
        descent.step()
    assert float(error.detach()) < 1 / 3


@pytest.mark.parametrize("name", sorted(set(CONFIGS) - set(STREAMING)))
def test_a_window_with_a_bar_of_the_future_is_refused(name: str) -> None:
    told = inputs(name)
    early = told.decision_ns_BT - 1
    with pytest.raises(DataError, match="1m: the window holds a bar that is not known"):
        system(name)(replace(told, decision_ns_BT=early))
    with pytest.raises(ValueError, match="answers once"):
        system(name)(replace(told, decision_ns_BT=told.decision_ns_BT.repeat(1, 2)))


@pytest.mark.parametrize("name", sorted(set(CONFIGS) - set(STREAMING)))
def test_a_window_of_another_length_or_width_is_refused(name: str) -> None:
    told = inputs(name)
    short = _with(told.scales["1m"], **{k: getattr(told.scales["1m"], k)[:, 1:] for k in _COLUMNS})
    narrow = _with(told.scales["1m"], x_BLF=told.scales["1m"].x_BLF[..., :2])
    for wrong in (short, narrow):
        with pytest.raises(ValueError, match="1m: windows of"):
            system(name)(replace(told, scales={**told.scales, "1m": wrong}))


_COLUMNS = ("x_BLF", "close_ns_BL", "known_ns_BL")


@pytest.mark.parametrize("name", ["flagship", "longctx", "orderbook", "portfolio"])
def test_a_decision_without_its_history_is_refused_by_the_scales_name(name: str) -> None:
    told = inputs(name)
    first = torch.full((2, 1), START_NS + 2 * MINUTE + LATE_NS)
    with pytest.raises(DataError, match="1m: a decision knows 2 bars of it and needs"):
        system(name)(replace(told, decision_ns_BT=first))
    with pytest.raises(DataError, match="reads '1m', and the input has '9m'"):
        system(name)(replace(told, scales={"9m": told.scales["1m"]}))


def test_streaming_refuses_what_is_not_next() -> None:
    model, told = system("flagship"), inputs("flagship")
    assert isinstance(model, CausalSystem)
    assert model.warm_up == {"1m": 9, "5m": 7, "15m": 5}
    state = model.start(2)
    model.prefill(told, state)
    with pytest.raises(DataError, match="1m: a bar closes no later"):
        model.absorb({"1m": scale("1m", 1, end=END)}, state)
    again = {"1m": scale("1m", 1, end=END)}
    with pytest.raises(DataError, match="1m: a bar closes no later than the one before"):
        model.step(again, told.decision_ns_BT[:, -1], state)
    few = {bar: scale(bar, 3, end=FIRST) for bar in told.scales}
    with pytest.raises(DataError, match="1m: a decision knows 3 bars of it and needs 9"):
        model.step(few, told.decision_ns_BT[:, 0], model.start(2))
    with pytest.raises(DataError, match="1m: a decision knows 0 bars"):
        model.step({"5m": few["5m"]}, told.decision_ns_BT[:, 0], model.start(2))
    with pytest.raises(ValueError, match="call eval"):
        model.train().prefill(told, model.start(2))


def test_a_state_holds_no_more_than_it_needs() -> None:
    """After a long stretch as after a short one: the recent tokens, and those that are not known yet."""
    model, told = system("flagship"), inputs("flagship")
    assert isinstance(model, CausalSystem)
    state = model.start(2)
    model.prefill(told, state)
    kept = {bar: 0 if each.tail is None else each.tail.known_ns_BM.shape[1] for bar, each in state.items()}
    assert kept == {"1m": 3, "5m": 3, "15m": 3}
    state = model.start(2)
    early = replace(told, decision_ns_BT=told.decision_ns_BT[:, :1])  # 30 bars of 1m are not known by then
    model.prefill(early, state)
    assert state["1m"].tail is not None
    assert state["1m"].tail.known_ns_BM.shape[1] == 33


def test_a_missing_modality_is_a_learned_token_and_not_an_error() -> None:
    """One that is not in the input, and one of which nothing is known yet, are the same to the bit."""
    model, told = system("trading"), inputs("trading")
    without = replace(told, scales={bar: each for bar, each in told.scales.items() if bar != "15m"})
    late = told.scales["15m"].close_ns_BL + 10**6 * MINUTE
    unknown = replace(told, scales={**without.scales, "15m": _with(told.scales["15m"], known_ns_BL=late)})
    with torch.no_grad():
        made, same, other = model(without), model(unknown), model(told)
    assert made.quantiles is not None
    assert same.quantiles is not None
    assert other.quantiles is not None
    assert torch.equal(made.quantiles, same.quantiles)
    assert not torch.equal(made.quantiles, other.quantiles)


def test_padding_reaches_no_answer_even_where_it_holds_nan() -> None:
    for name in ("flagship", "trading", "longctx", "orderbook", "portfolio", "lstm", "migt", "multiscale"):
        told = inputs(name)
        bar = CONFIGS[name].scales[0].bar
        each = told.scales[bar]
        more = 5
        nan = torch.full((2, more, *each.x_BLF.shape[2:]), torch.nan)
        if name in STREAMING:
            padded = ScaleInput(
                x_BLF=torch.cat([each.x_BLF, nan], dim=1),
                close_ns_BL=torch.cat([each.close_ns_BL, each.close_ns_BL[:, -1:].expand(-1, more)], dim=1),
                known_ns_BL=torch.cat([each.known_ns_BL, each.known_ns_BL[:, -1:].expand(-1, more)], dim=1),
                valid_BL=torch.arange(each.x_BLF.shape[1] + more).expand(2, -1) < each.x_BLF.shape[1],
            )
            with torch.no_grad():
                one, two = system(name)(told), system(name)(replace(told, scales={**told.scales, bar: padded}))
        else:
            valid = torch.arange(each.x_BLF.shape[1]).expand(2, -1) < each.x_BLF.shape[1] - more
            poisoned = [torch.where(valid[..., None], each.x_BLF, junk) for junk in (torch.nan, 1e9)]
            pair = [replace(told, scales={**told.scales, bar: _with(each, x_BLF=x, valid_BL=valid)}) for x in poisoned]
            with torch.no_grad():
                one, two = (system(name)(told) for told in pair)
        assert one.quantiles is not None
        assert two.quantiles is not None
        assert relative_error(one.quantiles, two.quantiles) < 1e-6, name
    told = inputs("dlinear")
    half = _with(told.scales["1m"], valid_BL=torch.arange(13).expand(2, -1) < 9)
    with pytest.raises(DataError, match="1m: the system takes whole windows"):
        system("dlinear")(replace(told, scales={"1m": half}))


def test_a_shuffled_panel_gives_shuffled_answers_and_the_absent_get_nothing() -> None:
    """Assets have no number; one that is absent is seen by none, whatever its rows hold."""
    model, told = system("portfolio"), inputs("portfolio")
    order = torch.tensor([2, 0, 3, 1])
    each = told.scales["1m"]
    with torch.no_grad():
        one, two = model(told), model(with_x(told, {"1m": each.x_BLF[:, :, order]}))
    assert one.weights is not None
    assert two.weights is not None
    assert relative_error(two.weights, one.weights[..., order]) < 1e-6
    assert one.correlation is not None
    assert two.correlation is not None
    assert relative_error(two.correlation, one.correlation[..., order, :][..., order]) < 1e-6
    present = torch.ones(each.x_BLF.shape[:3], dtype=torch.bool)
    present[:, :, 1] = False
    answers = []
    for junk in (torch.nan, 1e6):
        x = each.x_BLF.clone()
        x[:, :, 1] = junk
        with torch.no_grad():
            said = model(replace(told, scales={"1m": _with(each, x_BLF=x, present_BLV=present)}))
        answers.append(said.weights)
        assert torch.equal(said.correlation[..., 1, :], torch.eye(ASSETS)[1].expand(*said.correlation.shape[:-1]))
    assert torch.equal(answers[0], answers[1])
    assert float(answers[0][..., 1].abs().max()) == 0.0
    assert float(answers[0].sum(dim=-1).max()) <= 1.0
    held = torch.zeros(*told.decision_ns_BT.shape, ASSETS)
    held[..., 0] = 1.0
    with torch.no_grad():
        moved = model(replace(told, current_weights_BTA=held)).weights
    assert moved is not None
    assert not torch.equal(moved, one.weights)


def test_the_books_levels_are_told_by_side_and_depth() -> None:
    model, told = system("orderbook"), inputs("orderbook")
    with torch.no_grad():
        one = model(told).quantiles
        two = model(with_x(told, {"1m": told.scales["1m"].x_BLF.flip(2)})).quantiles
    assert one is not None
    assert two is not None
    assert relative_error(two, one) > 1e-3
    odd = with_x(told, {"1m": told.scales["1m"].x_BLF[:, :, :3]})
    with pytest.raises(ValueError, match="3 levels; give equally many bids and asks"):
        model(odd)


@pytest.mark.parametrize("name", ["patchtst", "itransformer", "migt"])
def test_a_window_norm_does_not_make_wild_times_look_quiet(name: str) -> None:
    """Window norms divide the size of moves away; the heads are told it, so that intervals can widen."""
    model, told = system(name), inputs(name)
    with torch.no_grad():
        quiet = model(told).quantiles
        wild = model(with_x(told, {"1m": 5 * told.scales["1m"].x_BLF})).quantiles
    assert quiet is not None
    assert wild is not None
    assert relative_error(wild[..., -1] - wild[..., 0], quiet[..., -1] - quiet[..., 0]) > 1e-2


@pytest.mark.parametrize(("name", "length"), [(n, k) for n in ("patchtst", "hierarchical") for k in (16, 17, 30, 252)])
def test_odd_lengths_pass_and_the_newest_bar_counts(name: str, length: int) -> None:
    """S0's pyramid fails on 252 and 30, and would drop the newest bar; patches are counted back from it."""
    first = CONFIGS[name].scales[0]
    cfg = msgspec.structs.replace(CONFIGS[name], scales=(msgspec.structs.replace(first, length=length),))
    model = build(cfg).eval()
    at = torch.full((2, 1), START_NS + MINUTE * 300 + LATE_NS)
    told = ModelInput(scales={"1m": scale("1m", length, end=300)}, decision_ns_BT=at)
    for place in (0, -1):
        x = told.scales["1m"].x_BLF.clone()
        x[:, place, 0] += 3.0
        with torch.no_grad():
            assert not torch.equal(model(told).quantiles, model(with_x(told, {"1m": x})).quantiles), place


def test_importance_is_what_was_attended_to_and_no_constant() -> None:
    """S0's weights are 1/L whatever the data; these move with it."""
    for name in ("flagship", "multiscale", "multiscale attention", "trading"):
        with torch.no_grad():
            one, two = system(name)(inputs(name)).importance, system(name)(inputs(name, seed=1)).importance
        assert one is not None
        assert two is not None
        assert float((one - two).abs().max()) > 1e-3, name


def test_instruments_are_told_apart_where_that_is_learned() -> None:
    model, told = system("flagship"), inputs("flagship")
    with torch.no_grad():
        one, two = (model(replace(told, asset_B=torch.tensor([0, n]))).quantiles for n in (0, 1))
    assert one is not None
    assert two is not None
    assert torch.equal(one[0], two[0])
    assert not torch.equal(one[1], two[1])
    with pytest.raises(DataError, match="numbered from 0 to 63"):
        model(replace(told, asset_B=torch.tensor([0, 64])))


def test_inputs_that_make_no_sense_are_refused() -> None:
    good = scale("1m", 5)
    at = good.known_ns_BL[:, -1:]
    later = good.known_ns_BL.clone()
    later[:, 2] += 10 * MINUTE
    nan = good.x_BLF.clone()
    nan[1, 2, 0] = torch.nan
    for wrong, reason in (
        ({"x_BLF": nan}, "NaN or infinite"),
        ({"known_ns_BL": later}, "the times of known go back"),
        ({"known_ns_BL": good.close_ns_BL - 1}, "known before it closes"),
        ({"close_ns_BL": good.close_ns_BL.flip(1)}, "the times of close go back"),
        ({"valid_BL": torch.arange(5).expand(2, -1) > 2}, "padding comes after"),
    ):
        with pytest.raises(DataError, match=reason):
            _with(good, **wrong)
    for wrong, reason in (
        ({"x_BLF": good.x_BLF[0]}, "bars are"),
        ({"close_ns_BL": good.close_ns_BL.double()}, "close_ns_BL is int64"),
        ({"valid_BL": torch.ones(2, 4, dtype=torch.bool)}, "valid_BL is bool"),
        ({"present_BLV": torch.ones(2, 5, 3, dtype=torch.bool)}, "present_BLV is bool"),
    ):
        with pytest.raises(ValueError, match=reason):
            _with(good, **wrong)
    for more, reason in (
        ({"scales": {}}, "one stream at least"),
        ({"decision_ns_BT": at[:1]}, "1m: 2 rows beside 1"),
        ({"decision_ns_BT": at[:, 0]}, "decisions are int64"),
        ({"asset_B": torch.zeros(2)}, "assets are int64"),
        ({"current_weights_BTA": torch.zeros(2, 4)}, "current weights are"),
    ):
        with pytest.raises(ValueError, match=reason):
            ModelInput(**({"scales": {"1m": good}, "decision_ns_BT": at} | more))
    with pytest.raises(DataError, match="decisions go back"):
        ModelInput(scales={"1m": good}, decision_ns_BT=good.known_ns_BL.flip(1))


def test_an_exposure_is_an_allocation_between_the_instrument_and_cash() -> None:
    cfg = msgspec.structs.replace(CONFIGS["longctx"], heads=(ALLOCATION,))
    with torch.no_grad():
        made = build(cfg).eval()(inputs("longctx"))
    assert made.weights is not None
    assert made.weights.shape == (2, END - FIRST + 1, 1)
    assert set(made.asked()) == {"weights"}
    assert ((made.weights > 0) & (made.weights < 1)).all()
    assert HORIZONS == ("5m", "1h")


def test_the_document_lists_every_system() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "networks.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `(\w+)` \| (stretches|windows) \|", page, re.MULTILINE))
    assert told == {each.name: each.reads for each in entries()}
