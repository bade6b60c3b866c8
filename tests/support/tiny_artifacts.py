"""A small artefact, and how to write one that lies: everything consistent but what a test has changed."""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import numpy as np
import safetensors.torch as st
from torch import Tensor

from bot.core.features.schema import FeatureSchema
from bot.core.offsets import Offsets
from models.artifact import RawInputs, save
from models.artifact_files import check_header
from models.config import EncoderConfig, ModelConfig, ScaleConfig
from models.manifest import (
    GOLDEN,
    MANIFEST,
    WEIGHTS,
    Calibration,
    Data,
    FileOf,
    Golden,
    Identity,
    Labels,
    Limits,
    Manifest,
    Model,
    Normaliser,
    Split,
    Training,
    features_of,
    from_json,
    name_of,
    to_json,
)
from models.normalizer import Normalizer, TargetUnit, fit
from models.registry import build
from models.training.segments import ScaleArrays
from models.training.session import streaming_of
from tests.support.tiny_training import FIVE, streaming_config
from tests.support.training import START

SCHEMA = FeatureSchema(["log_return", "volatility(20)"], ["5m", "15m"])
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def config() -> ModelConfig:
    """Return a flagship over the schema's features."""
    made = streaming_config()
    scales = []
    for scale in made.scales:
        assert isinstance(scale.encoder, EncoderConfig)
        encoder = msgspec.structs.replace(scale.encoder, features=SCHEMA.names)
        scales.append(ScaleConfig(bar=scale.bar, length=scale.length, encoder=encoder))
    return msgspec.structs.replace(made, scales=tuple(scales))


def write_artifact(store: Path, *, seed: int = 0, private_key: bytes | None = None, **identity: object) -> Path:
    """Write an artefact with random features and weights."""
    generator = np.random.default_rng(seed)
    made = msgspec.structs.replace(config(), seed=seed)
    normalizers: dict[str, Normalizer] = {}
    fits = {}
    for scale in ("5m", "15m"):
        values = generator.normal(3.0, 2.0, (500, 2))
        normalizers[scale], fits[scale] = fit(
            [(values, np.arange(500))], SCHEMA.names, from_ns=0, to_ns=500, kind="robust", limit=8.0
        )
    draft = Manifest(
        identity=Identity(
            system=made.system,
            registry=1,
            code_commit="",
            code_sha256="",
            is_dirty=None,
            parent=None,
            created_ns=START,
            **identity,  # type: ignore[arg-type]
        ),
        model=Model(config=made, parameters=0, tensors={}),
        features=features_of(SCHEMA),
        normaliser=Normaliser(fits=fits, limit=8.0, tensors_sha256=""),
        labels=Labels(
            horizons_ns=(FIVE, 3 * FIVE),
            price="close",
            unit=TargetUnit(kind="fixed", horizons_ns=(FIVE, 3 * FIVE), scale=(0.001, 0.002), bar_ns=FIVE),
            hole_max_ns=0,
            gap_ns=0,
            costs={},
            barriers={},
        ),
        data=Data(
            source="sample",
            instruments=("AAAUSDT",),
            from_ns=0,
            to_ns=1,
            bars="trades",
            scales=("5m", "15m"),
            rows={"5m": 500},
            files=(),
            merkle_root="",
        ),
        split=Split(
            train=(0, 500),
            validation=None,
            test=None,
            calibration=None,
            hold_out_from_ns=None,
            embargo_ns=0,
            purge_ns=3 * FIVE,
            fold=1,
            folds=1,
            samples={"train": 500},
        ),
        training=Training(
            seed=seed,
            steps=1,
            best_step=1,
            plan={},
            settings_sha256="",
            torch="",
            cuda=None,
            cudnn=None,
            device="cpu",
            precision="float32",
            processes=1,
            attention=(),
            seconds=1.0,
        ),
        results={},
        streaming=streaming_of(build(made), made),
        limits=Limits(ranges={"5m": [(0.0, 1.0), (None, None)]}, instruments=("AAAUSDT",), expires_ns=START + FIVE),
        calibration=Calibration(
            levels=LEVELS,
            residual=None,
            residual_range=None,
            offsets=Offsets(horizons_ns=(FIVE, 3 * FIVE), levels=LEVELS, values=((-0.1, -0.05, 0.0, 0.05, 0.1),) * 2),
            decisions=100,
        ),
        golden=Golden(rows=0, tolerance={"float32": (1e-5, 1e-6)}),
        files={},
    )
    return save(
        store, draft, model=build(made), normalizers=normalizers, golden=_golden(generator), private_key=private_key
    )


def _golden(generator: np.random.Generator) -> RawInputs:
    scales = {}
    decision_ns = START + 3 * FIVE * 40 + np.arange(4) * FIVE
    for name, scale_ns in (("5m", FIVE), ("15m", 3 * FIVE)):
        length = 14
        last = (decision_ns[-1] - START) // scale_ns
        close_ns = np.tile(START + scale_ns * (last - np.arange(length)[::-1]), (8, 1)).astype(np.int64)
        values = generator.normal(3.0, 2.0, (8, length, 2)).astype(np.float32)
        scales[name] = ScaleArrays(values_BLF=values, close_ns_BL=close_ns, known_ns_BL=close_ns)
    return RawInputs(
        scales=scales,
        decision_ns_BT=np.tile(decision_ns, (8, 1)).astype(np.int64),
        asset_B=np.zeros(8, dtype=np.int64),
    )


def forge(
    path: Path,
    *,
    weights: Callable[[dict[str, Tensor]], Mapping[str, Tensor]] | None = None,
    golden: Callable[[dict[str, Tensor]], Mapping[str, Tensor]] | None = None,
    manifest: Callable[[Manifest], Manifest] | None = None,
    raw_manifest: Callable[[bytes], bytes] | None = None,
    raw_weights: Callable[[bytes], bytes] | None = None,
    lists_tensors: bool = True,
) -> Path:
    """Return a copy whose hashes and name are right for what was changed: only the later checks can tell."""
    contents = {name: (path / name).read_bytes() for name in (WEIGHTS, GOLDEN)}
    told = from_json((path / MANIFEST).read_bytes())
    for name, change in ((WEIGHTS, weights), (GOLDEN, golden)):
        if change is not None:
            contents[name] = st.save(dict(change(st.load(contents[name]))))
    if raw_weights is not None:
        contents[WEIGHTS] = raw_weights(contents[WEIGHTS])
    if lists_tensors and raw_weights is None:
        tensors = check_header(WEIGHTS, contents[WEIGHTS], None)
        told = msgspec.structs.replace(told, model=msgspec.structs.replace(told.model, tensors=tensors))
    files = {
        name: FileOf(size=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in contents.items()
    }
    told = msgspec.structs.replace(told, files=files)
    encoded = to_json(told if manifest is None else manifest(told))
    encoded = encoded if raw_manifest is None else raw_manifest(encoded)
    made = path.parent / name_of(told.identity.system, encoded)
    if made.exists():
        shutil.rmtree(made)
    made.mkdir()
    for name, content in contents.items():
        (made / name).write_bytes(content)
    (made / MANIFEST).write_bytes(encoded)
    return made
