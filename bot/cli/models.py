"""`bot models`: the artefacts that there are, whether they are whole, and which one is in use."""

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import typer

from bot.app import models as modelling
from bot.app.attention import draw_attention
from bot.app.replay_market import open_data
from bot.cli.output import Config, Json, Set, print_result, progress
from bot.domain.errors import DataError
from bot.runtime import logs
from bot.runtime.settings import load

models_app = typer.Typer(
    no_args_is_help=True, help="Trained models: list, show, verify, use, roll back, export, look into one decision."
)

Store = Annotated[Path, typer.Option("--store", help="Where artefacts are kept.")]
Model = Annotated[str, typer.Argument(help='Its name, the beginning of one, a path, or "current".')]
Trust = Annotated[list[str], typer.Option("--trust", help="Ed25519 public key, hex: take only what it has signed.")]
_STORE = Path("artifacts")


@models_app.command("list")
def models_list(
    store: Store = _STORE,
    networks: Annotated[bool, typer.Option("--networks", help="What can be trained, in place of what was.")] = False,
    as_json: Json = False,
) -> None:
    """List the models of a store; the one in use has an asterisk. With --networks: what there is to train.

    A network is "proven" once it has beaten LightGBM and DLinear by more than its intervals; a "baseline" is there to
    be beaten; all else is research. In brackets: the shipped strategies that act on what it says.
    """
    if networks:
        _list_networks(as_json)
        return
    found = modelling.list_models(store)
    if as_json:
        result = [
            {"model": each.name, "is_current": each.is_current, "reason": each.reason}
            | ({} if each.manifest is None else modelling.summary(each.manifest))
            for each in found
        ]
        sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
        return
    for each in found:
        mark = "*" if each.is_current else " "
        if each.manifest is None:
            typer.echo(f"{mark} {each.name}  REFUSED: {each.reason}")
            continue
        config = each.manifest.model.config
        scales = ", ".join(f"{scale.length} x {scale.bar}" for scale in config.scales)
        made = modelling.when(each.manifest.identity.created_ns)
        typer.echo(
            f"{mark} {each.name}  {made}  {', '.join(each.manifest.data.instruments)}  {scales}  "
            f"{each.manifest.model.parameters:,} parameters  ({modelling.traded_by(each.manifest)})"
        )
    if not found:
        typer.echo(f"no models in {store}; bot train makes one, of those that bot models list --networks tells")


def _list_networks(as_json: bool) -> None:
    found = modelling.networks()
    if as_json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        return
    for system in dict.fromkeys(each.system for each in found):
        of_system = [each for each in found if each.system == system]
        only = "" if of_system[0].preset else f"  ({of_system[0].traded_by})"
        typer.echo(f"{system}  {of_system[0].label}: {of_system[0].about}{only}")
        for each in of_system if not only else ():
            typer.echo(f"  {each.preset:22}  {', '.join(each.heads)}  ({each.traded_by})")


@models_app.command("show")
def models_show(model: Model, store: Store = _STORE, as_json: Json = False) -> None:
    """Print what a model says of itself; --json prints its whole manifest."""
    name, manifest = modelling.show_model(store, model)
    if as_json:
        result = {"model": name, "operations": modelling.operations(manifest), "manifest": manifest}
        sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
        return
    cost = {"operations": f"{modelling.operations(manifest):,} floating-point, for one decision from nothing"}
    print_result({"model": name} | modelling.summary(manifest) | cost, False)


@models_app.command("verify")
def models_verify(
    models: Annotated[list[str] | None, typer.Argument(help="Which; all of the store if none is named.")] = None,
    store: Store = _STORE,
    trust: Trust = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Do all that loading does: hashes, manifest, tensors, and the recorded answers on this machine."""
    names = models or [each.name for each in modelling.list_models(store)]
    if not names:
        raise DataError(f"{store}: there is no model to verify")
    results: list[dict[str, Any]] = []
    for name in names:
        try:
            results.append(modelling.verify_model(store, name, trusted=_trusted(trust)))
        except DataError as error:
            results.append({"model": name, "verdict": "refused", "reason": str(error)})
    if as_json:
        sys.stdout.write(msgspec.json.encode(results).decode() + "\n")
    else:
        for result in results:
            typer.echo(f"{result['model']}: {result['verdict']}")
    refused = [str(result["reason"]) for result in results if "reason" in result]
    if refused:
        raise DataError("\n".join(refused))


@models_app.command("use")
def models_use(
    model: Model,
    store: Store = _STORE,
    trust: Trust = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Let a model be the one in use, once it has passed every check."""
    print_result({"current": modelling.use_model(store, model, trusted=_trusted(trust))}, as_json)


@models_app.command("rollback")
def models_rollback(
    store: Store = _STORE,
    trust: Trust = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Go back to the model that was in use before."""
    print_result({"current": modelling.roll_back(store, trusted=_trusted(trust))}, as_json)


@models_app.command("attention")
def models_attention(
    model: Model,
    store: Store = _STORE,
    config: Config = None,
    start: Annotated[str | None, typer.Option("--from", help="First moment of data to read, UTC.")] = None,
    at: Annotated[str | None, typer.Option("--at", help="The newest decision before this moment, UTC.")] = None,
    instrument: Annotated[str | None, typer.Option(help="Which; the first of the settings if left out.")] = None,
    out: Annotated[Path, typer.Option("--out", help="The page to write.")] = Path("attention.html"),
    trust: Trust = [],  # noqa: B006
    overrides: Set = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Draw one decision: weights of scales, attention over dates, and what each bar and feature added to the answer."""
    given = list(overrides)
    given += [f'run.start="{start}"'] if start is not None else []
    given += [f'run.end="{at}"'] if at is not None else []
    settings = load(config, given)
    logs.configure(settings.log.level)
    with progress("sample market") as tell:
        market = open_data(settings, lambda done, days: tell(done / days, f"day {done} of {days}"))
    first_ns, last_ns = min(h.span_ns()[0] for _, h in market), max(h.span_ns()[1] for _, h in market)
    with progress("attention") as tell:
        result = draw_attention(
            store,
            model,
            settings,
            market,
            instrument=instrument,
            out=out,
            trusted=_trusted(trust),
            on_progress=lambda ts_ns: tell((ts_ns - first_ns) / (last_ns - first_ns), str(np.datetime64(ts_ns, "ns"))),
        )
    print_result(result, as_json)


@models_app.command("export")
def models_export(
    model: Model,
    store: Store = _STORE,
    formats: Annotated[
        list[str], typer.Option("--format", help="torch-export, onnx, torchscript or aotinductor; repeat for more.")
    ] = ["torch-export", "onnx"],  # noqa: B006
    rows: Annotated[int, typer.Option(min=1, help="How many instruments it answers at once.")] = 1,
    out: Annotated[Path, typer.Option("--out", help="The folder to write into.")] = Path("exports"),
    trust: Trust = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Write a model's network for other programs; refused where a format answers otherwise than the network."""
    print_result(modelling.export(store, model, formats=formats, rows=rows, out=out, trusted=_trusted(trust)), as_json)


def _trusted(keys: list[str]) -> frozenset[str] | None:
    return frozenset(key.lower() for key in keys) if keys else None
