"""Looking into a network: rows that are attention, parts that add up, costs by arithmetic, numbers that are none."""

import msgspec
import numpy as np
import pytest
import torch

from models.config import ModelConfig, RecurrentConfig, ScaleConfig
from models.encoder import Encoder
from models.inspect import attention_of, count_flops, example_input, finite, integrated_gradients, kept_bytes
from models.registry import build
from tests.support.systems import CONFIGS, QUANTILE, inputs, system, with_x

FUSED = ("flagship", "trading", "multiscale", "multiscale attention")


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_every_system_can_be_looked_into(name: str) -> None:
    """Rows of attention sum to one, nothing unknown is looked at, and the network is left as it was."""
    model, given = system(name), inputs(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    looks = attention_of(model, given)
    assert list(looks) == list(given.scales)
    for bar, look in looks.items():
        known = int(given.scales[bar].known_by(given.decision_ns_BT)[0, -1])
        if look.own_HL is not None:
            np.testing.assert_allclose(look.own_HL.sum(axis=1), 1, rtol=1e-5)
            if CONFIGS[name].scales[0].encoder.block.attn.causal:  # type: ignore[union-attr]
                assert not look.own_HL[:, known:].any()
        if look.fused_N is not None and look.fused_ns_N is not None:
            late = look.fused_ns_N > int(given.decision_ns_BT[0, -1])
            assert not look.fused_N[late].any()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("name", FUSED)
def test_weights_across_streams_are_the_importance(name: str) -> None:
    """Summed by stream, the tokens' weights are the shares that `CrossAttend.importance` tells, or lack the absent."""
    model, given = system(name), inputs(name)
    watched = []
    cross = model.get_submodule("fusion.cross")
    handle = cross.register_forward_pre_hook(lambda module, args: watched.append(module.importance(*args)))
    with torch.no_grad():
        model(given)
    handle.remove()
    decisions = given.decision_ns_BT.shape[1]
    shares = watched[0][0, -(watched[0].shape[1] // decisions) :].mean(dim=0).numpy()
    fused = [look.fused_N.sum() for look in attention_of(model, given).values() if look.fused_N is not None]
    assert len(fused) == len(shares)
    if name == "trading":
        assert all(part < share for part, share in zip(fused, shares, strict=True))  # the rest is on learned tokens
    else:
        np.testing.assert_allclose(fused, shares, rtol=1e-5)


def test_the_newest_bars_row_is_the_encoders() -> None:
    model, given = system("longctx"), inputs("longctx")
    scale = given.scales["1m"]
    encoder = model.get_submodule("encoders.made.0")
    assert isinstance(encoder, Encoder)
    rows = encoder.attention_rows(scale.x_BLF[:1], scale.close_ns_BL[:1], layer=1, rows=(119,))
    own = attention_of(model, given)["1m"].own_HL
    assert own is not None
    np.testing.assert_array_equal(own, rows[0, :, 0].double().numpy())


@pytest.mark.parametrize("name", ["flagship concat", "longctx", "lstm", "portfolio", "dlinear"])
def test_what_moved_the_answer_adds_up_to_it(name: str) -> None:
    """Parts of bars and features add up to the answer less that of a normalised zero."""
    model, given = system(name), inputs(name)
    made = integrated_gradients(model, given, steps=128)
    total = sum(each.sum() for each in made.by_bar.values())
    assert made.answer - made.at_zero == pytest.approx(total + made.lacking, abs=1e-6)
    assert abs(made.lacking) < 0.02 * abs(made.answer - made.at_zero) + 1e-3


def test_a_network_that_normalises_its_window_jumps_at_zero_and_that_is_said() -> None:
    """On the way from zero such a window stays what it is, so parts lack: `lacking` says how much."""
    made = integrated_gradients(system("patchtst"), inputs("patchtst"))
    total = sum(float(each.sum()) for each in made.by_bar.values())
    assert made.lacking == pytest.approx(made.answer - made.at_zero - total, abs=1e-9)
    assert abs(made.lacking) > 0.1


def test_what_is_not_read_has_no_part() -> None:
    model, given = system("longctx"), inputs("longctx")
    made = integrated_gradients(model, given)
    late = given.scales["1m"].known_ns_BL[0] > given.decision_ns_BT[0, -1]
    assert not made.by_bar["1m"][late.numpy()].any()
    other = with_x(given, {"1m": given.scales["1m"].x_BLF * 0})
    assert not integrated_gradients(model, other).by_bar["1m"].any()


def test_costs_of_known_networks() -> None:
    """A line through 13 bars of 3 features twice, and an LSTM by its four gates, are what arithmetic says."""
    dlinear = CONFIGS["dlinear"]
    heads = count_flops(dlinear) - 2 * 2 * 13 * 3 * 16
    assert 0 < heads < 10_000
    cell = RecurrentConfig(depth=1, width=32, features=("a", "b"))
    lstm = ModelConfig(system="lstm", scales=(ScaleConfig(bar="1h", length=48, encoder=cell),), heads=(QUANTILE,))
    gates = 48 * 2 * 4 * 32 * (2 + 32)
    assert gates <= count_flops(lstm) < 1.1 * gates


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_example_inputs_are_enough_for_every_system(name: str) -> None:
    with torch.no_grad():
        made = build(CONFIGS[name]).eval()(example_input(CONFIGS[name], rows=2)).asked()
    assert all(len(value) == 2 and bool(torch.isfinite(value).all()) for value in made.values())


def test_what_is_not_finite_is_named() -> None:
    model, given = system("dlinear"), inputs("dlinear")
    assert finite(model, model(given)) == []
    with torch.no_grad():
        model.get_parameter("trend.weight")[0, 0] = torch.nan
    named = finite(model, model(given))
    assert named[0] == "trend.weight"
    assert "answer quantiles" in named
    model.get_parameter("trend.bias").grad = torch.full_like(model.get_parameter("trend.bias"), torch.inf)
    assert "gradient of trend.bias" in finite(model)


def test_what_is_kept_grows_with_the_rows_and_shrinks_by_recomputing() -> None:
    """One more row costs what the one before did; a linear map keeps its input and nothing else."""
    config = CONFIGS["migt"]
    one, two, three = (kept_bytes(config, rows=rows) for rows in (1, 2, 3))
    assert 0 < three - two == two - one
    assert kept_bytes(config, rows=3, recompute=True) < three / 2
    more = msgspec.structs.replace(config.heads[0], hidden=(1000,))
    wider = kept_bytes(msgspec.structs.replace(config, heads=(more,)), rows=3)
    assert wider - three == 3 * 4 * 2 * 1000  # the map's answer, and the activation's that the next map reads
