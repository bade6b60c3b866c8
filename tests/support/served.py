"""Artefacts of every system, tiny and untrained, that a replay of the sample market can be run by."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import nn

from bot.core.durations import parse_duration
from bot.core.features.normalise import FittedNormalizer
from bot.core.features.schema import FeatureSchema
from bot.core.offsets import Offsets
from models import manifest as m
from models.artifact import RawInputs, save
from models.config import HeadConfig, ModelConfig
from models.normalizer import Normalizer, TargetUnit
from models.registry import build
from models.training.segments import ScaleArrays
from models.training.session import reads_stretches, stream_lengths, streaming_of
from tests.support.systems import CONFIGS, GRIDS, MINUTE, START_NS

FEATURES = ("log_return", "volatility(5)", "ewma_volatility(0.6)")
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
SERVED = tuple(name for name in CONFIGS if name not in GRIDS)
SIGNAL = HeadConfig(kind="signal3", horizons=("1h",))
POINT = HeadConfig(kind="point", horizons=("5m", "1h"))


def config_of(name: str, heads: Sequence[HeadConfig] | None = None, bars: Sequence[str] = ()) -> ModelConfig:
    """Return a tiny network of that system which reads the schema's features."""
    made = CONFIGS[name]
    columns = FeatureSchema(FEATURES, ["1m"]).names
    named = bars or [scale.bar for scale in made.scales]
    scales = tuple(
        msgspec.structs.replace(scale, bar=bar, encoder=msgspec.structs.replace(scale.encoder, features=columns))
        for scale, bar in zip(made.scales, named, strict=True)
    )
    return msgspec.structs.replace(made, scales=scales, heads=made.heads if heads is None else tuple(heads))


def write_served(
    store: Path,
    name: str = "flagship",
    *,
    heads: Sequence[HeadConfig] | None = None,
    bars: Sequence[str] = (),
    instruments: Sequence[str] = ("SAMPLEUSDT",),
    seed: int = 0,
    shown: tuple[int, int] = (0, 1_000),
    sway: float = 0.5,
    features: Sequence[str] = FEATURES,
    drop: Sequence[str] = (),
    funding_interval: str = "8h",
) -> Path:
    """Write an artefact and return its directory.

    Args:
        bars: other names of the scales, such as ("5m", "15m", "1h").
        shown: the stretch that it says it was trained on.
        sway: how strongly drawn weights answer the market.
        drop: scales that the normaliser leaves out.
    """
    config = msgspec.structs.replace(config_of(name, heads, bars), seed=seed)
    return write_config(
        store,
        config,
        instruments=instruments,
        shown=shown,
        sway=sway,
        features=features,
        drop=drop,
        funding_interval=funding_interval,
    )


def write_config(
    store: Path,
    config: ModelConfig,
    *,
    instruments: Sequence[str] = ("SAMPLEUSDT",),
    shown: tuple[int, int] = (0, 1_000),
    sway: float = 0.5,
    features: Sequence[str] = FEATURES,
    drop: Sequence[str] = (),
    funding_interval: str = "8h",
) -> Path:
    """Write an artefact of a configuration that reads these features; see `write_served`."""
    seed = config.seed
    model = build(config)
    draws = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=sway, generator=draws)
    scales = [scale.bar for scale in config.scales]
    schema = FeatureSchema(features, scales, funding_interval_ns=parse_duration(funding_interval))
    horizons = tuple(dict.fromkeys(each for head in config.heads for each in head.horizons))
    horizons_ns = tuple(sorted(map(parse_duration, horizons)))
    bar_ns = parse_duration(scales[0])
    forecasting = next((h for h in config.heads if h.kind in ("quantile", "student", "gaussian", "point")), None)
    normalizers, fits = {}, {}
    for scale in scales:
        center, spread = (0.0, 0.0004, 0.0004), (0.0005, 0.0003, 0.0003)
        fits[scale] = FittedNormalizer(
            kind="standard", names=schema.names, from_ns=0, to_ns=1_000, rows=100, center=center, scale=spread
        )
        normalizers[scale] = Normalizer(
            names=schema.names,
            center_F=np.array(center, dtype=np.float32),
            scale_F=np.array(spread, dtype=np.float32),
            limit=8.0,
        )
    draft = m.Manifest(
        identity=m.Identity(
            system=config.system, registry=1, code_commit="", code_sha256="", is_dirty=None, parent=None, created_ns=0
        ),
        model=m.Model(config=config, parameters=0, tensors={}),
        features=m.features_of(schema),
        normaliser=m.Normaliser(
            fits={scale: fit for scale, fit in fits.items() if scale not in drop}, limit=8.0, tensors_sha256=""
        ),
        labels=m.Labels(
            horizons_ns=horizons_ns,
            price="close",
            unit=TargetUnit(
                kind="volatility",
                horizons_ns=horizons_ns,
                scale=(1.0,) * len(horizons_ns),
                bar_ns=bar_ns,
                columns=(schema.names[2],),
            ),
            hole_max_ns=0,
            gap_ns=0,
            costs={},
            barriers={},
        ),
        data=m.Data(
            source="sample",
            instruments=tuple(instruments),
            from_ns=0,
            to_ns=1,
            bars="trades",
            scales=tuple(scales),
            rows={},
            files=(),
            merkle_root="",
        ),
        split=m.Split(
            train=shown,
            validation=None,
            test=None,
            calibration=None,
            hold_out_from_ns=None,
            embargo_ns=0,
            purge_ns=max(horizons_ns),
            fold=1,
            folds=1,
            samples={},
        ),
        training=m.Training(
            seed=seed,
            steps=1,
            best_step=1,
            plan={"segment": 16},
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
        streaming=streaming_of(model, config),
        limits=m.Limits(ranges={}, instruments=tuple(instruments), expires_ns=None),
        calibration=None if forecasting is None else _calibration(forecasting),
        golden=m.Golden(rows=0, tolerance={"float32": (1e-4, 1e-5)}),
        files={},
    )
    return save(store, draft, model=model, normalizers=normalizers, golden=_golden(config, len(schema.names)))


def _calibration(head: HeadConfig) -> m.Calibration:
    horizons_ns = tuple(map(parse_duration, head.horizons))
    residual = None if head.kind == "quantile" else ((-1.6, -0.7, 0.0, 0.7, 1.6),) * len(horizons_ns)
    levels = head.quantiles
    offsets = Offsets(
        horizons_ns=horizons_ns, levels=levels, values=((-0.01, -0.005, 0.0, 0.005, 0.01),) * len(horizons_ns)
    )
    return m.Calibration(levels=levels, residual=residual, residual_range=None, offsets=offsets, decisions=100)


def _golden(config: ModelConfig, features: int) -> RawInputs:
    generator = np.random.default_rng(0)
    decisions = 4 if reads_stretches(config) else 1
    lengths = stream_lengths(config)
    bar_ns = parse_duration(config.scales[0].bar)
    end_ns = START_NS + 30 * 86_400 * 10**9
    decision_ns = end_ns - bar_ns * np.arange(decisions)[::-1] + MINUTE
    scales: dict[str, Any] = {}
    for scale in config.scales:
        scale_ns = parse_duration(scale.bar)
        length = lengths[scale.bar] + (decisions - 1 if decisions > 1 else 0)
        close_ns = np.tile(end_ns - scale_ns * np.arange(length)[::-1], (8, 1)).astype(np.int64)
        values = generator.normal(0.0004, 0.0004, (8, length, features)).astype(np.float32)
        scales[scale.bar] = ScaleArrays(values_BLF=values, close_ns_BL=close_ns, known_ns_BL=close_ns)
    return RawInputs(
        scales=scales,
        decision_ns_BT=np.tile(decision_ns, (8, 1)).astype(np.int64),
        asset_B=np.zeros(8, dtype=np.int64),
    )
