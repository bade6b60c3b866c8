"""A trained network for other programs: torch.export, ONNX, TorchScript, or compiled for this machine.

What is exported is the network alone, of fixed shapes: normalised features and times in, answers in units of the
targets out. `export.json` beside it says what goes in and comes out, how features are normalised, and the hash of every
file. Nothing is written that does not answer like the network itself: every format is read back and asked for each of
the artefact's recorded inputs.

An exported network checks nothing that it is told; what `ModelInput` refuses, it answers. The bot itself never reads
any of these files.
"""

import copy
import hashlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from bot.domain.errors import ConfigError, DataError
from models.artifact import Loaded, RawInputs, golden_inputs, load
from models.durable import write_directory
from models.inputs import ModelInput, ScaleInput
from models.position import unpack_constants
from models.training.segments import ScaleArrays

FILES = {
    "torch-export": "model.pt2",
    "onnx": "model.onnx",
    "torchscript": "model.ts",
    "aotinductor": "compiled.pt2",
}
RECORD = "export.json"
_Run = Callable[[Sequence[Tensor]], Sequence[Tensor]]


class Flat(nn.Module):
    """A network as a function of tensors: features, closes and known times of each stream, then the decisions.

    Args:
        example: which inputs there are; padding and absent assets cannot be said.

    Raises:
        ConfigError: the example has them.
    """

    def __init__(self, model: nn.Module, example: ModelInput) -> None:
        super().__init__()
        if any(scale.valid_BL is not None or scale.present_BLV is not None for scale in example.scales.values()):
            raise ConfigError("an exported network takes whole rows; leave out padding and what is absent")
        self.model = model
        self.bars = tuple(example.scales)
        self.with_asset = example.asset_B is not None
        self.with_held = example.current_weights_BTA is not None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Return the names of the tensors, in order."""
        names = [f"{bar}/{part}" for bar in self.bars for part in ("values", "close_ns", "known_ns")]
        names += ["decision_ns"] + ["asset"] * self.with_asset + ["current_weights"] * self.with_held
        return tuple(names)

    def pack(self, given: ModelInput) -> tuple[Tensor, ...]:
        """Return an input as those tensors."""
        tensors = [
            tensor
            for bar in self.bars
            for tensor in (given.scales[bar].x_BLF, given.scales[bar].close_ns_BL, given.scales[bar].known_ns_BL)
        ]
        more = (given.decision_ns_BT, given.asset_B, given.current_weights_BTA)
        return (*tensors, *(each for each in more if each is not None))

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the answers in the order of `outputs_of`."""
        left = list(tensors)
        scales = {
            bar: ScaleInput(x_BLF=left.pop(0), close_ns_BL=left.pop(0), known_ns_BL=left.pop(0)) for bar in self.bars
        }
        given = ModelInput(
            scales=scales,
            decision_ns_BT=left.pop(0),
            asset_B=left.pop(0) if self.with_asset else None,
            current_weights_BTA=left.pop(0) if self.with_held else None,
        )
        return tuple(self.model(given).asked().values())


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """One file, and by how much its answers differ from the network's at most."""

    size: int
    sha256: str
    error: float


class TensorShape(msgspec.Struct, frozen=True, kw_only=True):
    """One input or output."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What `export.json` says.

    Attributes:
        normalisers: by stream, {names, center, scale, limit}: z = clip((value - center) / scale, -limit, limit).
        unit: what forecasts are in, as the artefact's manifest has it.
        tolerance: relative and absolute, within which every format agreed with the network.
    """

    model: str
    torch: str
    inputs: tuple[TensorShape, ...]
    outputs: tuple[TensorShape, ...]
    normalisers: dict[str, dict[str, Any]]
    unit: Any
    tolerance: tuple[float, float]
    files: dict[str, Written]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Traced:
    """A network as one graph, and the inputs it is checked with."""

    flat: Flat
    program: torch.export.ExportedProgram
    examples: tuple[tuple[Tensor, ...], ...]
    answers: tuple[tuple[Tensor, ...], ...]  # the network's own
    outputs: tuple[str, ...]


@torch.no_grad()
def trace(model: nn.Module, examples: Sequence[ModelInput]) -> Traced:
    """Return a network as one graph without breaks, for inputs of the examples' shapes.

    Args:
        model: in evaluation mode, on the CPU; it is copied.
    """
    model = copy.deepcopy(model).eval()
    unpack_constants(model)
    flat = Flat(model, examples[0])
    packed = tuple(flat.pack(example) for example in examples)
    answers = tuple(flat(*each) for each in packed)
    with _quiet():
        program = torch.export.export(flat, packed[0], strict=False)
    program.graph.eliminate_dead_code()  # such as which type two types make, of which a compiler knows nothing
    program.graph_module.recompile()
    outputs = tuple(model(examples[0]).asked())
    return Traced(flat=flat, program=program, examples=packed, answers=answers, outputs=outputs)


def write_formats(
    traced: Traced, formats: Sequence[str], directory: Path, *, tolerance: tuple[float, float]
) -> dict[str, Written]:
    """Write a network in some formats, each read back and asked again.

    Raises:
        ConfigError: there is no such format, or this network cannot be written in it.
        DataError: what was written answers otherwise.
    """
    made = {}
    for name in formats:
        if name not in FILES:
            raise ConfigError(f"--format {name}: there is none; choose of {', '.join(FILES)}")
        path = directory / FILES[name]
        try:
            with _quiet(), torch.no_grad():
                run = _WRITERS[name](traced, path)
                error = _difference(name, run, traced, tolerance)
        except (RuntimeError, ImportError, torch.onnx.OnnxExporterError) as failed:
            reason = " ".join(str(failed).split())[:200]
            raise ConfigError(f"--format {name}: this network cannot be written so: {reason}") from failed
        content = path.read_bytes()
        made[FILES[name]] = Written(size=len(content), sha256=hashlib.sha256(content).hexdigest(), error=error)
    return made


def export_model(
    path: Path,
    *,
    formats: Sequence[str],
    out: Path,
    rows: int = 1,
    trusted: frozenset[str] | None = None,
    now_ns: int | None = None,
) -> tuple[Path, Record]:
    """Write an artefact's network for other programs and return the directory, which appears whole or not at all.

    Args:
        rows: how many instruments or windows it answers at once, for one decision each.

    Raises:
        ConfigError: a format is unknown or impossible for this network. DataError: the artefact is refused, or what was
            written would answer otherwise.
    """
    loaded = load(path, trusted=trusted, now_ns=now_ns)
    golden = golden_inputs(path, trusted=trusted)
    count = len(golden.asset_B)
    if not 1 <= rows <= count:
        raise ConfigError(f"--rows {rows}: use 1 to {count}, as many as the artefact has recorded inputs")
    parts = [_cut(golden, at, at + rows) for at in range(0, count - rows + 1, rows)]
    cpu = torch.device("cpu")
    traced = trace(loaded.model, [part.to_model(loaded.normalizers, cpu) for part in parts])
    tolerance = loaded.manifest.golden.tolerance["float32"]
    out.mkdir(parents=True, exist_ok=True)
    # The name follows from what is asked, since what compilers write is not the same twice.
    asked = msgspec.json.encode([loaded.name, sorted(formats), rows, str(torch.__version__)])
    target = out / f"{loaded.name}-{hashlib.sha256(asked).hexdigest()[:12]}"
    if target.exists():
        raise ConfigError(f"{target}: is there already; move it away to export it again")
    records: list[Record] = []

    def fill(directory: Path) -> None:
        files = write_formats(traced, formats, directory, tolerance=tolerance)
        records.append(_record(loaded, traced, files, tolerance))
        (directory / RECORD).write_bytes(msgspec.json.format(msgspec.json.encode(records[0]), indent=1))

    write_directory(target, fill)
    return target, records[0]


def _cut(golden: RawInputs, start: int, stop: int) -> RawInputs:
    """Return some rows, with their last decision alone."""
    scales = {
        name: ScaleArrays(
            values_BLF=each.values_BLF[start:stop],
            close_ns_BL=each.close_ns_BL[start:stop],
            known_ns_BL=each.known_ns_BL[start:stop],
        )
        for name, each in golden.scales.items()
    }
    last_ns = golden.decision_ns_BT[start:stop, -1:].copy()
    return RawInputs(scales=scales, decision_ns_BT=last_ns, asset_B=golden.asset_B[start:stop])


def _record(loaded: Loaded, traced: Traced, files: Mapping[str, Written], tolerance: tuple[float, float]) -> Record:
    normalisers = {
        bar: {
            "names": list(each.names),
            "center": each.center_F.tolist(),
            "scale": each.scale_F.tolist(),
            "limit": each.limit,
        }
        for bar, each in loaded.normalizers.items()
    }
    return Record(
        model=loaded.name,
        torch=str(torch.__version__),
        inputs=_shapes(traced.flat.inputs, traced.examples[0]),
        outputs=_shapes(traced.outputs, traced.answers[0]),
        normalisers=normalisers,
        unit=loaded.manifest.labels.unit,
        tolerance=tolerance,
        files=dict(files),
    )


def _shapes(names: Sequence[str], tensors: Sequence[Tensor]) -> tuple[TensorShape, ...]:
    return tuple(
        TensorShape(name=name, dtype=str(each.dtype).removeprefix("torch."), shape=tuple(each.shape))
        for name, each in zip(names, tensors, strict=True)
    )


def _difference(name: str, run: _Run, traced: Traced, tolerance: tuple[float, float]) -> float:
    """Return the greatest difference from the network's own answers.

    Raises:
        DataError: it is more than the tolerance.
    """
    relative, absolute = tolerance
    worst = 0.0
    for example, answers in zip(traced.examples, traced.answers, strict=True):
        for output, mine, theirs in zip(traced.outputs, answers, run(example), strict=True):
            away = (theirs - mine).abs()
            # Written so that a NaN on either side is too far.
            if theirs.shape != mine.shape or not bool((away <= absolute + relative * mine.abs()).all()):
                raise DataError(
                    f"--format {name}: {output} differs by up to {float(away.max()):.3g} from the network's own; "
                    f"allowed are {absolute:g} + {relative:g} of the value; nothing was written"
                )
            worst = max(worst, float(away.max()))
    return worst


def _write_program(traced: Traced, path: Path) -> _Run:
    torch.export.save(traced.program, path)
    module = torch.export.load(path).module()
    return lambda tensors: tuple(module(*tensors))


def _write_torchscript(traced: Traced, path: Path) -> _Run:
    # Of the graph, whose sizes are numbers; the network's own code computes with them.
    made = torch.jit.trace(  # type: ignore[no-untyped-call]
        traced.program.module(), traced.examples[0], check_trace=False
    )
    torch.jit.save(made, str(path))
    module = torch.jit.load(str(path))  # type: ignore[no-untyped-call]
    return lambda tensors: tuple(module(*tensors))


def _write_onnx(traced: Traced, path: Path) -> _Run:
    import onnxruntime  # type: ignore[import-untyped]  # an extra: exporting is not trading

    program = traced.program.run_decompositions({torch.ops.aten.searchsorted.Tensor: _count_known})
    made = torch.onnx.export(
        program,
        traced.examples[0],
        dynamo=True,
        verbose=False,
        input_names=list(traced.flat.inputs),
        output_names=list(traced.outputs),
    )
    if made is None:
        raise RuntimeError("the exporter returned nothing")
    made.save(str(path), external_data=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    at = [traced.flat.inputs.index(name) for name in names]  # an input that nothing reads is gone

    def run(tensors: Sequence[Tensor]) -> list[Tensor]:
        found = session.run(list(traced.outputs), {name: tensors[i].numpy() for name, i in zip(names, at, strict=True)})
        return [torch.from_numpy(each) for each in found]

    return run


def _write_compiled(traced: Traced, path: Path) -> _Run:
    made = torch._inductor.aoti_compile_and_package(traced.program, package_path=str(path))
    module = torch._inductor.aoti_load_package(made)
    return lambda tensors: tuple(module(*tensors))


def _count_known(
    sorted_sequence: Tensor,
    values: Tensor,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Return what `torch.searchsorted` does, in operations that ONNX has."""
    known, asked = sorted_sequence[..., None, :], values[..., None]
    below = known <= asked if right or side == "right" else known < asked
    return below.to(torch.int32 if out_int32 else torch.int64).sum(dim=-1)


_WRITERS: dict[str, Callable[[Traced, Path], _Run]] = {
    "torch-export": _write_program,
    "onnx": _write_onnx,
    "torchscript": _write_torchscript,
    "aotinductor": _write_compiled,
}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep exporters from telling users of their own future, and of libraries that nothing here needs."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, before, strict=True):
            each.setLevel(level)
