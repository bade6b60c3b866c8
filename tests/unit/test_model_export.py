"""Networks for other programs: every system in every format answers like itself, and what does not is not written."""

import hashlib
import importlib.util
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from bot.domain.errors import ConfigError, DataError
from models.artifact import golden_inputs, load
from models.export import RECORD, Record, export_model, trace, write_formats
from models.inputs import ModelInput, ScaleInput
from tests.support.served import write_served
from tests.support.systems import CONFIGS, inputs, system

TOLERANCE = (1e-4, 1e-5)
needs_onnx = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime") is None, reason="needs the extra: pip install multiscale-bot[export]"
)


@pytest.mark.parametrize("name", ["longctx", "lstm", "dlinear", "patchtst", "orderbook"])
def test_programs_and_scripts_answer_like_the_network(name: str, tmp_path: Path) -> None:
    """Read back from the disk, for other inputs than the traced ones as well."""
    traced = trace(system(name), [inputs(name, rows=1, seed=seed) for seed in range(3)])
    made = write_formats(traced, ["torch-export", "torchscript"], tmp_path, tolerance=TOLERANCE)
    for file, written in made.items():
        content = (tmp_path / file).read_bytes()
        assert (written.size, written.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert written.error < 1e-6


@needs_onnx
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name == "longctx" else pytest.mark.soak) for name in sorted(CONFIGS)],
)
def test_every_system_in_every_format(name: str, tmp_path: Path) -> None:
    traced = trace(system(name), [inputs(name, rows=1, seed=seed) for seed in range(2)])
    made = write_formats(traced, ["torch-export", "onnx", "torchscript"], tmp_path, tolerance=TOLERANCE)
    assert len(made) == 3


@pytest.mark.soak
def test_compiled_for_this_machine(tmp_path: Path) -> None:
    traced = trace(system("dlinear"), [inputs("dlinear", rows=1, seed=seed) for seed in range(2)])
    assert write_formats(traced, ["aotinductor"], tmp_path, tolerance=TOLERANCE)["compiled.pt2"].error < 1e-4


@needs_onnx
def test_an_artefact_for_another_program(tmp_path: Path) -> None:
    """Who reads `export.json` alone can normalise, ask, and get what the artefact's network says."""
    import onnxruntime  # type: ignore[import-untyped]

    path = write_served(tmp_path / "store", "dlinear")
    directory, record = export_model(path, formats=["onnx"], out=tmp_path / "out", rows=2)
    told = msgspec.json.decode((directory / RECORD).read_bytes(), type=Record)
    assert told.files == record.files
    assert told.model == path.name
    golden, loaded = golden_inputs(path), load(path)
    raw = golden.scales["1m"].values_BLF[:2]
    how = told.normalisers["1m"]
    z = (raw - np.array(how["center"], dtype=np.float32)) / np.array(how["scale"], dtype=np.float32)
    given = {
        "1m/values": np.clip(z, -how["limit"], how["limit"]).astype(np.float32),
        "1m/close_ns": golden.scales["1m"].close_ns_BL[:2],
        "1m/known_ns": golden.scales["1m"].known_ns_BL[:2],
        "decision_ns": golden.decision_ns_BT[:2, -1:],
        "asset": golden.asset_B[:2],
    }
    session = onnxruntime.InferenceSession(str(directory / "model.onnx"), providers=["CPUExecutionProvider"])
    reads = {each.name for each in session.get_inputs()}
    assert reads <= set(given) == {each.name for each in told.inputs}
    made = session.run([each.name for each in told.outputs], {name: given[name] for name in reads})
    with torch.no_grad():
        mine = loaded.model(golden.to_model(loaded.normalizers, torch.device("cpu"))).asked()
    for output, value in zip(told.outputs, made, strict=True):
        np.testing.assert_allclose(value, mine[output.name][:2].numpy(), rtol=1e-4, atol=1e-5)


def test_what_answers_otherwise_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer whose file says something else is found by asking it, and leaves no directory."""
    path = write_served(tmp_path / "store", "dlinear")

    def lie(traced: object, where: Path) -> object:
        where.write_bytes(b"another function")
        return lambda tensors: [answer + 0.01 for answer in _answers(traced)]

    monkeypatch.setitem(_writers(), "torch-export", lie)
    with pytest.raises(DataError, match=r"differs by up to 0\.01"):
        export_model(path, formats=["torch-export"], out=tmp_path / "out")
    assert not [each for each in (tmp_path / "out").iterdir() if not each.name.endswith(".part")]


def _answers(traced: object) -> tuple[torch.Tensor, ...]:
    answers: tuple[tuple[torch.Tensor, ...], ...] = getattr(traced, "answers")  # noqa: B009
    return answers[0]


def _writers() -> dict[str, object]:
    import models.export

    return models.export._WRITERS  # type: ignore[return-value]


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    path = write_served(tmp_path / "store", "dlinear")
    with pytest.raises(ConfigError, match="choose of torch-export, onnx, torchscript, aotinductor"):
        export_model(path, formats=["pickle"], out=tmp_path / "out")
    with pytest.raises(ConfigError, match="use 1 to 8"):
        export_model(path, formats=["torch-export"], out=tmp_path / "out", rows=9)
    directory, _ = export_model(path, formats=["torch-export"], out=tmp_path / "out")
    assert sorted(each.name for each in directory.iterdir()) == [RECORD, "model.pt2"]
    with pytest.raises(ConfigError, match="is there already"):
        export_model(path, formats=["torch-export"], out=tmp_path / "out")


def test_padding_cannot_be_exported() -> None:
    given = inputs("lstm", rows=1)
    scale = given.scales["1m"]
    padded = ScaleInput(
        x_BLF=scale.x_BLF,
        close_ns_BL=scale.close_ns_BL,
        known_ns_BL=scale.known_ns_BL,
        valid_BL=torch.ones(scale.close_ns_BL.shape, dtype=torch.bool),
    )
    with pytest.raises(ConfigError, match="whole rows"):
        trace(system("lstm"), [ModelInput(scales={"1m": padded}, decision_ns_BT=given.decision_ns_BT)])
