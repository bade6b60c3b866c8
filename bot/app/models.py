"""`bot models`: what is in a store of artefacts, whether it is whole, and which one is in use."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bot.core.durations import format_duration
from bot.domain.errors import BotError
from bot.runtime.env import utc_now
from models import artifact_store, presets, registry
from models.artifact import load
from models.artifact_files import read_files
from models.baselines.kinds import KINDS
from models.export import export_model
from models.inspect import count_flops
from models.manifest import Manifest
from models.serving.told import GRIDS


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """One artefact, or what is wrong with it."""

    name: str
    is_current: bool
    manifest: Manifest | None
    reason: str | None  # why it is refused


def list_models(store: Path) -> list[Listed]:
    """Return every artefact of a store; each file of each is hashed, no network is built."""
    current = artifact_store.current(store)
    found = []
    for name in artifact_store.names(store):
        manifest, reason = None, None
        try:
            manifest = read_files(store / name).manifest
        except BotError as error:
            reason = str(error)
        found.append(Listed(name=name, is_current=name == current, manifest=manifest, reason=reason))
    return found


def show_model(store: Path, model: str) -> tuple[str, Manifest]:
    """Return an artefact's name and manifest, its files hashed.

    Raises:
        ConfigError: there is none. DataError: it is refused.
    """
    path = artifact_store.locate(store, model)
    return path.name, read_files(path).manifest


def verify_model(store: Path, model: str, *, trusted: frozenset[str] | None = None) -> dict[str, Any]:
    """Return what was checked: every step of loading, down to the recorded answers on this machine.

    Raises:
        ConfigError: there is none. DataError: it is refused; the message says by which check.
    """
    path = artifact_store.locate(store, model)
    loaded = load(path, trusted=trusted, now_ns=int(utc_now().timestamp()) * 1_000_000_000)
    manifest = loaded.manifest
    return {
        "model": loaded.name,
        "tensors": len(manifest.model.tensors),
        "parameters": manifest.model.parameters,
        "features": manifest.features.hash,
        "signer": manifest.identity.signer,
        "golden_rows": manifest.golden.rows,
        "golden_error": loaded.golden_error,
        "verdict": "whole, and this machine computes the same function",
    }


def use_model(store: Path, model: str, *, trusted: frozenset[str] | None = None) -> str:
    """Let an artefact be the one in use once it has passed every check; return its name.

    Raises:
        ConfigError: there is none. DataError: it is refused, and the one before stays in use.
    """
    path = artifact_store.locate(store, model)
    verify_model(store, path.name, trusted=trusted)
    artifact_store.use(store, path.name)
    return path.name


def roll_back(store: Path, *, trusted: frozenset[str] | None = None) -> str:
    """Let the artefact that was in use before be so again; return its name.

    Raises:
        ConfigError: there was none. DataError: it is refused, and the present one stays in use.
    """
    return use_model(store, artifact_store.rollback_target(store), trusted=trusted)


def export(
    store: Path,
    model: str,
    *,
    formats: Sequence[str],
    rows: int,
    out: Path,
    trusted: frozenset[str] | None = None,
) -> dict[str, Any]:
    """Write an artefact's network for other programs; return where, and how near each file's answers are.

    Raises:
        ConfigError: there is no such model or format, or this network cannot be written so. DataError: the model is
            refused, or a format answers otherwise.
    """
    path = artifact_store.locate(store, model)
    now_ns = int(utc_now().timestamp()) * 1_000_000_000
    directory, record = export_model(path, formats=formats, out=out, rows=rows, trusted=trusted, now_ns=now_ns)
    errors = {f"{name}, differs by at most": written.error for name, written in record.files.items()}
    return {"model": record.model, "directory": str(directory.resolve())} | errors


def operations(manifest: Manifest) -> int:
    """Return the floating-point operations of one decision from nothing; see `models.inspect.count_flops`."""
    return count_flops(manifest.model.config)


def summary(manifest: Manifest) -> dict[str, Any]:
    """Return the lines that a person wants first."""
    split, config = manifest.split, manifest.model.config
    lines: dict[str, Any] = {
        "system": config.system,
        "scales": ", ".join(f"{scale.length} x {scale.bar}" for scale in config.scales),
        "heads": ", ".join(f"{head.kind} {'/'.join(head.horizons)}" for head in config.heads),
        "parameters": manifest.model.parameters,
        "features": f"{len(config.scales[0].encoder.features)} a bar, schema {manifest.features.hash[:12]}",
        "instruments": ", ".join(manifest.data.instruments),
        "traded by": traded_by(manifest),
        "trained on": _span(split.train),
        "chosen on": _span(split.validation),
        "tested on": _span(split.test),
        "calibrated on": _span(split.calibration),
        "held out from": "nothing" if split.hold_out_from_ns is None else when(split.hold_out_from_ns),
        "made": when(manifest.identity.created_ns),
        "signer": manifest.identity.signer or "none",
    }
    for fold in manifest.results.get("folds", []):
        for name, losses in fold.get("pinball", {}).items():
            told = [
                f"{format_duration(horizon_ns)} {1e4 * loss:.3f}"
                for horizon_ns, loss in zip(_horizons(manifest), losses, strict=False)
            ]
            lines[f"fold {fold['fold']}, pinball of {name}, bps"] = ", ".join(told)
    return lines


_STRATEGIES = {
    "quantile": "multiscale, portfolio",
    "student": "multiscale, portfolio",
    "gaussian": "multiscale, portfolio",
    "point": "multiscale, portfolio",
    "direction": "direction",
    "signal3": "signal",
    "allocation": "allocation",
    "regime": "regime",
    "risk": "risk_budget",
    "drawdown": "risk_budget",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """What can be trained, or is there to be beaten."""

    preset: str  # its name in `model.preset`; "" for what is no network
    system: str
    label: str  # see `models.registry.Entry`
    about: str
    heads: tuple[str, ...]
    traded_by: str


def networks() -> list[Network]:
    """Return every network that has a name, by its system."""
    found = []
    for name in presets.names():
        columns = {f"stream {number}": ("x",) for number in range(len(presets.lengths(name)))}
        config = presets.preset(name, columns)
        entry = registry.entry(config.system)
        heads = tuple(head.kind for head in config.heads)
        found.append(
            Network(
                preset=name,
                system=entry.name,
                label=entry.label,
                about=entry.about,
                heads=heads,
                traded_by=_traded_by(entry.name, heads),
            )
        )
    found.append(
        Network(
            preset="",
            system="ewma_vol",
            label="baseline",
            about="volatility and trend of the bars themselves; predictor.kind of its own",
            heads=("quantile",),
            traded_by=_traded_by("ewma_vol", ("quantile",)),
        )
    )
    for name, kind in KINDS.items():
        about = (inspect.getdoc(kind) or "").partition("\n")[0].rstrip(".")
        found.append(
            Network(
                preset="",
                system=name,
                label="baseline",
                about=about,
                heads=(),
                traded_by="judged by bot evaluate alone",
            )
        )
    return sorted(found, key=lambda each: (not each.preset, each.system, each.preset))


def traded_by(manifest: Manifest) -> str:
    """Return the shipped strategies that act on what a model says; "research" where nothing here can."""
    config = manifest.model.config
    return _traded_by(config.system, [head.kind for head in config.heads])


def _traded_by(system: str, kinds: Sequence[str]) -> str:
    if system in GRIDS:
        return "research: nothing here gathers what it reads"
    names = dict.fromkeys(_STRATEGIES[kind] for kind in kinds if kind in _STRATEGIES)
    return ", ".join(names) or "research: no strategy reads what it says"


def when(ts_ns: int) -> str:
    """Return a time as a person writes it."""
    return str(np.datetime64(ts_ns, "ns").astype("datetime64[s]")) + "Z"


def _span(stretch: tuple[int, int] | None) -> str:
    return "nothing" if stretch is None else f"{when(stretch[0])} to {when(stretch[1])}"


def _horizons(manifest: Manifest) -> tuple[int, ...]:
    told = manifest.calibration
    return told.offsets.horizons_ns if told is not None and told.offsets is not None else manifest.labels.horizons_ns
