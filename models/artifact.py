"""Artefacts: a model with all that is needed to use it and to doubt it, in a directory that never changes.

    <system>-<first 12 hex digits of the manifest's hash>/
        weights.safetensors     model/*, norm/*, calib/*
        golden.safetensors      inputs as the features gave them, and the answers to them
        manifest.json           everything else, and the hash of each file
        manifest.sig            where it is signed: Ed25519 over manifest.json

Nothing is parsed before its hash is right, nothing is used before all of it is, and the last check is whether this
machine's kernels compute the same function. Each refusal says which check failed. Pickle is nowhere.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import safetensors.torch as st
import torch
from torch import Tensor, nn

from bot.domain.errors import BotError, ConfigError, DataError
from models.artifact_files import Files, check_header, public_key_of, read_files, sign
from models.config import ModelConfig
from models.durable import write_directory
from models.inputs import ModelInput, ScaleInput
from models.manifest import GOLDEN, MANIFEST, SIGNATURE, WEIGHTS, FileOf, Manifest, TensorOf, name_of, to_json
from models.normalizer import F32, Normalizer, Normalizers
from models.output import ModelOutput
from models.registry import build as build_registered
from models.training.segments import ScaleArrays

Build = Callable[[ModelConfig], nn.Module]
_NAMES = {
    torch.float32: "F32", torch.float64: "F64", torch.bfloat16: "BF16", torch.float16: "F16", torch.int64: "I64",
    torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RawInputs:
    """Some inputs as the feature engine gave them, before any normalising."""

    scales: Mapping[str, ScaleArrays]
    decision_ns_BT: np.ndarray
    asset_B: np.ndarray

    def to_model(self, normalizers: Normalizers, device: torch.device) -> ModelInput:
        """Return them as the network reads them."""
        return ModelInput(
            scales={
                name: ScaleInput(
                    x_BLF=torch.from_numpy(_apply(normalizers[name], arrays.values_BLF)).to(device),
                    close_ns_BL=torch.from_numpy(arrays.close_ns_BL).to(device),
                    known_ns_BL=torch.from_numpy(arrays.known_ns_BL).to(device),
                )
                for name, arrays in self.scales.items()
            },
            decision_ns_BT=torch.from_numpy(self.decision_ns_BT).to(device),
            asset_B=torch.from_numpy(self.asset_B).to(device),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Loaded:
    """A model that has passed every check."""

    name: str
    manifest: Manifest
    model: nn.Module  # in evaluation mode, on its device
    normalizers: dict[str, Normalizer]
    golden_error: float  # the greatest difference from the recorded answers


def save(
    store: Path,
    draft: Manifest,
    *,
    model: nn.Module,
    normalizers: Normalizers,
    golden: RawInputs,
    private_key: bytes | None = None,
) -> Path:
    """Write an artefact and return its directory, which appears whole or not at all.

    Args:
        draft: the manifest; what follows from the tensors (`model.tensors`, `model.parameters`, the normaliser's hash,
            `golden.rows`, `files`, the signer) is filled in.
        model: on the CPU.
        golden: the inputs to be answered and recorded.

    Raises:
        DataError: the model's own answers are no numbers.
        StorageError: the disk refuses.
    """
    model = model.eval()
    answers = _answer(model, golden.to_model(normalizers, torch.device("cpu")))
    tensors = {f"model/{name}": value.detach().cpu().clone() for name, value in model.state_dict().items()}
    tensors |= _norm_tensors(normalizers) | _calibration_tensors(draft)
    recorded = _golden_tensors(golden) | {f"output/{name}": value.clone() for name, value in answers.items()}
    for what, each in ((WEIGHTS, tensors), (GOLDEN, {k: v for k, v in recorded.items() if k.startswith("output/")})):
        _check_finite(what, each)
    contents = {WEIGHTS: _pack(tensors), GOLDEN: _pack(recorded)}
    manifest = msgspec.structs.replace(
        draft,
        identity=msgspec.structs.replace(
            draft.identity, signer=None if private_key is None else public_key_of(private_key)
        ),
        model=msgspec.structs.replace(
            draft.model,
            parameters=sum(each.numel() for each in model.parameters()),
            tensors={
                name: TensorOf(dtype=_NAMES[each.dtype], shape=tuple(each.shape)) for name, each in tensors.items()
            },
        ),
        normaliser=msgspec.structs.replace(draft.normaliser, tensors_sha256=_norm_hash(tensors)),
        golden=msgspec.structs.replace(draft.golden, rows=len(golden.asset_B)),
        files={
            name: FileOf(size=len(content), sha256=hashlib.sha256(content).hexdigest())
            for name, content in contents.items()
        },
    )
    contents[MANIFEST] = to_json(manifest)
    if private_key is not None:
        contents[SIGNATURE] = sign(private_key, contents[MANIFEST])
    path = store / name_of(manifest.identity.system, contents[MANIFEST])

    def fill(directory: Path) -> None:
        for name, content in contents.items():
            (directory / name).write_bytes(content)

    write_directory(path, fill)
    return path


def load(
    path: Path,
    *,
    live_schema_hash: str | None = None,
    device: torch.device | str = "cpu",
    trusted: frozenset[str] | None = None,
    now_ns: int | None = None,
    build: Build = build_registered,
) -> Loaded:
    """Return a model that may be used.

    Args:
        live_schema_hash: of the features that are computed here; None to look at a model, not to trade by it.
        device: where it is to run; the recorded answers are asked for there.
        trusted: public keys of whom to take models from; None for anybody.
        now_ns: the time, to refuse what has expired; None to let it pass.

    Raises:
        DataError: one of the checks failed; the message says which.
    """
    files = read_files(path, trusted=trusted)
    manifest = files.manifest
    try:
        _check_meaning(manifest, live_schema_hash, now_ns)
        tensors = _read_tensors(files)
        normalizers = _normalizers(manifest, tensors)
        _check_calibration(manifest, tensors)
        model = _build(manifest, tensors, build).to(device).eval()
        error = _replay(files, model, normalizers, torch.device(device))
    except DataError as refused:
        raise DataError(f"{path}: {refused}") from refused
    return Loaded(name=path.name, manifest=manifest, model=model, normalizers=normalizers, golden_error=error)


def golden_inputs(path: Path, *, trusted: frozenset[str] | None = None) -> RawInputs:
    """Return the inputs that an artefact was recorded with, its files hashed.

    Raises:
        DataError: it is refused.
    """
    files = read_files(path, trusted=trusted)
    check_header(GOLDEN, files.golden, None)
    try:
        return _golden_inputs(st.load(files.golden))
    except KeyError as error:
        raise DataError(f"{path}: golden: {error} is not recorded") from error


class Serving:
    """The model that answers: another takes its place once it has passed every check, and not before."""

    def __init__(self) -> None:
        self.loaded: Loaded | None = None

    def switch(self, load_other: Callable[[], Loaded]) -> str | None:
        """Return None if the other model now serves, else why it does not, the old one serving on."""
        try:
            other = load_other()
        except BotError as refused:
            return str(refused)
        self.loaded = other
        return None


def _check_meaning(manifest: Manifest, live_schema_hash: str | None, now_ns: int | None) -> None:
    schema = manifest.features.schema()
    if live_schema_hash is not None and live_schema_hash != schema.hash:
        raise DataError(
            f"features: trained on schema {schema.hash[:12]}, this pipeline computes {live_schema_hash[:12]}; use the "
            "features, scales and lengths it was trained with"
        )
    for scale in manifest.model.config.scales:
        if scale.encoder.features != schema.names or scale.bar not in schema.scales:
            raise DataError(f"features: the model reads others at {scale.bar} than the schema has, or in another order")
        fit = manifest.normaliser.fits.get(scale.bar)
        if fit is None or fit.names != schema.names:
            raise DataError(f"normaliser: at {scale.bar} it is not of the features that the model reads")
    expires_ns = manifest.limits.expires_ns
    if now_ns is not None and expires_ns is not None and now_ns >= expires_ns:
        raise DataError(f"limits: expired at {np.datetime64(expires_ns, 'ns').astype('datetime64[s]')}Z; train anew")


def _read_tensors(files: Files) -> dict[str, Tensor]:
    check_header(WEIGHTS, files.weights, files.manifest.model.tensors)
    tensors = st.load(files.weights)
    _check_finite(WEIGHTS, tensors)
    return tensors


def _check_finite(what: str, tensors: Mapping[str, Tensor]) -> None:
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise DataError(f"{what}: tensor {name} holds a NaN or an infinity")


def _normalizers(manifest: Manifest, tensors: Mapping[str, Tensor]) -> dict[str, Normalizer]:
    if _norm_hash(tensors) != manifest.normaliser.tensors_sha256:
        raise DataError("normaliser: its tensors are not those that were fitted")
    made = {}
    for scale, fit in manifest.normaliser.fits.items():
        pair = [tensors.get(f"norm/{scale}/{part}") for part in ("center", "scale")]
        if pair[0] is None or pair[1] is None:
            raise DataError(f"normaliser: there are no tensors for {scale}")
        center_F, scale_F = (each.numpy() for each in pair if each is not None)
        made[scale] = Normalizer(names=fit.names, center_F=center_F, scale_F=scale_F, limit=manifest.normaliser.limit)
        if not np.array_equal(center_F, np.array(fit.center, dtype=np.float32)):
            raise DataError(f"normaliser: the tensors of {scale} are not what its record says")
    return made


def _check_calibration(manifest: Manifest, tensors: Mapping[str, Tensor]) -> None:
    expected = _calibration_tensors(manifest)
    found = {name for name in tensors if name.startswith("calib/")}
    if found != set(expected) or not all(torch.equal(tensors[name], value) for name, value in expected.items()):
        raise DataError("calibration: the tensors are not what the manifest says")


def _build(manifest: Manifest, tensors: Mapping[str, Tensor], build: Build) -> nn.Module:
    try:
        model = build(manifest.model.config)
    except ConfigError as error:
        raise DataError(f"model: cannot be built: {error}") from error
    weights = {name.removeprefix("model/"): value for name, value in tensors.items() if name.startswith("model/")}
    left = [name for name in tensors if not name.startswith(("model/", "norm/", "calib/"))]
    if left:
        raise DataError(f"{WEIGHTS}: tensor {left[0]} belongs to nothing")
    try:
        model.load_state_dict(weights, strict=True, assign=True)
    except RuntimeError as error:
        raise DataError(f"model: the weights are not this network's: {' '.join(str(error).split())[:300]}") from error
    count = sum(each.numel() for each in model.parameters())
    if count != manifest.model.parameters:
        raise DataError(f"model: has {count:,} parameters, the manifest says {manifest.model.parameters:,}")
    return model


def _replay(files: Files, model: nn.Module, normalizers: Normalizers, device: torch.device) -> float:
    """Return the greatest difference from the recorded answers.

    Raises:
        DataError: it is more than the tolerance, or other answers are given.
    """
    check_header(GOLDEN, files.golden, None)
    recorded = st.load(files.golden)
    try:
        inputs = _golden_inputs(recorded).to_model(normalizers, device)
        answers = _answer(model, inputs)
    except (KeyError, ValueError, RuntimeError, ConfigError) as error:
        raise DataError(f"golden: the recorded inputs cannot be answered here: {error}") from error
    expected = {name.removeprefix("output/"): each for name, each in recorded.items() if name.startswith("output/")}
    if set(expected) != set(answers):
        raise DataError(f"golden: {', '.join(sorted(answers))} is answered, {', '.join(sorted(expected))} was recorded")
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    if dtype not in files.manifest.golden.tolerance:
        raise DataError(f"golden: no tolerance is stated for {dtype}")
    relative, absolute = files.manifest.golden.tolerance[dtype]
    worst = 0.0
    for name, value in expected.items():
        answer = answers[name]
        if answer.shape != value.shape:
            raise DataError(f"golden: {name} is {list(answer.shape)} here and {list(value.shape)} as recorded")
        away = (answer - value).abs()
        # Written so that a NaN on either side is too far.
        if not bool((away <= absolute + relative * value.abs()).all()):
            raise DataError(
                f"golden: {name} differs by up to {float(away.max()):.3g} from what was recorded, allowed are "
                f"{absolute:g} + {relative:g} of the value: this machine computes another function"
            )
        worst = max(worst, float(away.max()))
    return worst


@torch.no_grad()
def _answer(model: nn.Module, inputs: ModelInput) -> dict[str, Tensor]:
    output = model(inputs)
    if not isinstance(output, ModelOutput):
        raise DataError("the model gives no ModelOutput")
    return {name: value.detach().cpu().contiguous() for name, value in output.asked().items()}


def _apply(normalizer: Normalizer, values_BLF: F32) -> F32:
    return normalizer.apply(values_BLF.reshape(-1, values_BLF.shape[-1])).reshape(values_BLF.shape)


def _golden_tensors(golden: RawInputs) -> dict[str, Tensor]:
    made = {
        "input/decision_ns": torch.from_numpy(golden.decision_ns_BT),
        "input/asset": torch.from_numpy(golden.asset_B),
    }
    for name, arrays in golden.scales.items():
        made[f"input/{name}/values"] = torch.from_numpy(arrays.values_BLF)
        made[f"input/{name}/close_ns"] = torch.from_numpy(arrays.close_ns_BL)
        made[f"input/{name}/known_ns"] = torch.from_numpy(arrays.known_ns_BL)
    return {name: value.contiguous() for name, value in made.items()}


def _golden_inputs(recorded: Mapping[str, Tensor]) -> RawInputs:
    scales = sorted({name.split("/")[1] for name in recorded if name.startswith("input/") and name.count("/") == 2})
    return RawInputs(
        scales={
            scale: ScaleArrays(
                values_BLF=recorded[f"input/{scale}/values"].numpy(),
                close_ns_BL=recorded[f"input/{scale}/close_ns"].numpy(),
                known_ns_BL=recorded[f"input/{scale}/known_ns"].numpy(),
            )
            for scale in scales
        },
        decision_ns_BT=recorded["input/decision_ns"].numpy(),
        asset_B=recorded["input/asset"].numpy(),
    )


def _norm_tensors(normalizers: Normalizers) -> dict[str, Tensor]:
    made = {}
    for scale, each in normalizers.items():
        made[f"norm/{scale}/center"] = torch.from_numpy(each.center_F.copy())
        made[f"norm/{scale}/scale"] = torch.from_numpy(each.scale_F.copy())
    return made


def _norm_hash(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        if name.startswith("norm/"):
            value = tensors[name]
            plain = value.contiguous().flatten().view(torch.uint8).numpy().tobytes()
            digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode() + plain)
    return digest.hexdigest()


def _calibration_tensors(manifest: Manifest) -> dict[str, Tensor]:
    told, made = manifest.calibration, {}
    if told is not None and told.offsets is not None:
        made["calib/offsets"] = torch.tensor(told.offsets.values, dtype=torch.float64)
    if told is not None and told.residual is not None:
        made["calib/residual"] = torch.tensor(told.residual, dtype=torch.float64)
    return made


def _pack(tensors: Mapping[str, Tensor]) -> bytes:
    # Copies: tensors that share memory are refused by the format.
    return st.save({name: value.contiguous().clone() for name, value in tensors.items()})
