"""How the parts hang together: a kernel or a position is one file, no system knows kernels, no flag changes answers."""

import ast
import functools
import inspect
from pathlib import Path

import pytest
import torch

import models
from bot.domain.errors import ConfigError
from bot.runtime.train_settings import TrainSettings
from models import registry
from models.attention import backends, select
from models.attention.spec import AttnSpec, Caps
from models.config import AttnConfig, BlockConfig, EncoderConfig, PosConfig
from models.encoder import build_encoder
from models.output import ModelOutput
from models.position import Position, kinds, register_position
from models.presets import preset
from models.registry import build, entries
from tests.support.systems import CONFIGS, inputs

ROOT = Path(models.__file__).parent
KERNELS = ("flash_attn", "flash_attn_interface", "torch.nn.attention", "models.attention.backends")
# `select` finds out which kernels there are; the state of linear attention is its kernel's, so the layer knows it.
MAY_KNOW = ("attention/select.py", "attention/module.py", "attention/backends/", "attention/spec.py")
CPU = Caps(device="cpu", torch_version=(2, 13))

KERNEL = """
from models.attention.spec import register, registered


class Halved:
    name = "halved-for-a-test"

    def supports(self, spec, caps):
        return None if spec.d == 8 else "knows heads of 8 alone"

    def run(self, q, k, v, spec, ctx):
        out, lse = registered()["reference"].run(q, k, v, spec, ctx)
        return out / 2, lse


register(Halved())
"""


@functools.cache
def files() -> list[tuple[str, ast.Module]]:
    """Return every source file below `models/`, by its name there."""
    paths = sorted(ROOT.rglob("*.py"))
    return [(path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))) for path in paths]


def imported(tree: ast.Module) -> set[str]:
    """Return the modules and names that a file imports, in full."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_no_system_and_no_part_imports_a_kernel() -> None:
    """Attention alone knows that there are kernels; whoever attends describes what, never by which."""
    told = {
        f"{name}: {module}"
        for name, tree in files()
        if not name.startswith(MAY_KNOW)
        for module in imported(tree)
        if module.startswith(KERNELS)
    }
    assert told == set()
    called = {
        name
        for name, tree in files()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "scaled_dot_product_attention"
    }
    assert called == {"attention/backends/sdpa.py"}


def test_a_kernel_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Laid beside the others it is found, asked for by name, and refused with its own reason."""
    (tmp_path / "halved.py").write_text(KERNEL)
    monkeypatch.setattr(backends, "__path__", [*backends.__path__, str(tmp_path)])
    spec = AttnSpec(heads=2, kv_heads=2, d=8)
    assert select.select(spec, CPU, "halved-for-a-test").backend.name == "halved-for-a-test"
    with pytest.raises(ConfigError, match="'halved-for-a-test' knows heads of 8 alone"):
        select.select(AttnSpec(heads=2, kv_heads=2, d=16), CPU, "halved-for-a-test")


def test_no_other_file_knows_the_kinds_of_position() -> None:
    """Whoever builds asks a kind what it does (turn, count, read features), never for its name."""
    compared = [
        f"{name}:{node.lineno}: {ast.unparse(node)}"
        for name, tree in files()
        if name not in ("position.py", "presets.py") and not name.startswith("attention/")  # kernels know biases
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        and {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)} & set(kinds())
    ]
    assert compared == []


def test_a_position_is_one_class() -> None:
    """What it says of itself keeps it from where it cannot be, without a word about it elsewhere."""

    class Turned(Position):
        rotates = True

    if "turned-for-a-test" not in kinds():
        register_position("turned-for-a-test", lambda cfg, sizes: Turned())
    attn = AttnConfig(heads=1, d=16, kernel="linear")
    pos = PosConfig(kinds=("turned-for-a-test",))
    cfg = EncoderConfig(depth=1, width=16, features=("a",), block=BlockConfig(attn=attn), pos=pos)
    with pytest.raises(ConfigError, match="no scores between tokens for turned-for-a-test"):
        build_encoder(cfg)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_no_flag_changes_what_comes_back(name: str) -> None:
    """In training and out of it, with one decision or several: one type, and only the fields that its heads fill."""
    model, told = build(CONFIGS[name]), inputs(name)
    fields = {}
    for mode in (True, False):
        model.train(mode)
        with torch.no_grad():
            output = model(told)
        assert type(output) is ModelOutput
        fields[mode] = {each for each in output.__dataclass_fields__ if getattr(output, each) is not None}
    assert fields[True] == fields[False]


def test_no_system_takes_a_flag() -> None:
    """A network is told what to answer by its configuration's heads, and is called with its input alone."""
    for each in entries():
        signature = inspect.signature(registry.entry(each.name).make.forward)  # type: ignore[attr-defined]
        assert signature.return_annotation in (ModelOutput, "ModelOutput"), each.name
        assert len(signature.parameters) == 2, each.name


def test_no_flag_of_any_part_changes_a_type() -> None:
    """What takes a bool says one type, or that it may have nothing to say."""
    wrong = []
    for name, tree in files():
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef) or node.returns is None:
                continue
            flags = [each for each in [*node.args.args, *node.args.kwonlyargs] if _is_flag(each)]
            types = set(ast.unparse(node.returns).split(" | ")) - {"None"}
            if flags and "[" not in ast.unparse(node.returns) and len(types) > 1:
                wrong.append(f"{name}:{node.lineno}: {node.name}")
    assert wrong == []


def test_a_training_that_is_told_nothing_has_three_horizons() -> None:
    """Five minutes, an hour and a day, each with a target of its own; any other list by configuration."""
    told = TrainSettings().model
    assert told.horizons == ("5m", "1h", "1d")
    names = dict.fromkeys(told.scales, ("log_return_1",))
    assert told.preset is not None
    assert {head.horizons for head in preset(told.preset, names, horizons=told.horizons).heads} == {told.horizons}


def _is_flag(argument: ast.arg) -> bool:
    return argument.annotation is not None and ast.unparse(argument.annotation) in ("bool", "bool | None")
