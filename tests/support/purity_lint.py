"""Find what would make a replay differ from the run it repeats, or let a file run code.

    python -m tests.support.purity_lint bot strategies models migrations

prints `file:line: rule: message` for every finding and exits with 1; 0 is clean, 2 is wrong usage.

A line that must break a rule says so, with its reason, at its end:

    order = id(task)  # purity: compared within one process only, never ordered or stored

A marker without a reason, or on a line that breaks no rule, is a finding itself.

What it reads is names, not values: `import time as t`, `from time import time_ns as now` and
`import_module("random")` are seen, a clock handed over in a variable is not. A reference counts as
a call, so `default_factory=time.time` is found.
"""

import argparse
import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ENV = "bot/runtime/env.py"  # the one file that may reach the clock and randomness
_PROCESSES = "bot/runtime/processes.py"  # with it the one that may start threads and processes
_SUPERVISOR = "bot/runtime/supervisor.py"  # the one file that may catch everything: it stops trading first


@dataclass(frozen=True)
class Rule:
    """Dotted names that are out of bounds: `a.b` means `a.b` and whatever is under it, `a.b*` also `a.bc`."""

    name: str
    message: str
    names: tuple[str, ...]
    allowed_in: tuple[str, ...] = ()


NAME_RULES = (
    Rule(
        name="wall-clock",
        message=f"reads the system clock; take the time as an argument, or from {_ENV}",
        names=(
            "time.time",
            "time.time_ns",
            "time.monotonic*",
            "time.perf_counter*",
            "time.process_time*",
            "time.thread_time*",
            "time.clock_gettime*",
            "datetime.datetime.now",
            "datetime.datetime.utcnow",
            "datetime.datetime.today",
            "datetime.date.today",
            "pandas.Timestamp.now",
            "pandas.Timestamp.utcnow",
            "pandas.Timestamp.today",
        ),
        allowed_in=(_ENV,),
    ),
    Rule(
        name="randomness",
        message=f"is unseeded or shared randomness; take a generator as an argument, or from {_ENV}",
        names=(
            "random",
            "numpy.random",
            "uuid.uuid1",
            "uuid.uuid4",
            "uuid.uuid6",
            "uuid.uuid7",
            "os.urandom",
            "os.getrandom",
            "secrets",
        ),
        allowed_in=(_ENV,),
    ),
    Rule(
        name="concurrency",
        message=f"starts or shares a thread or a process; ask {_ENV} or {_PROCESSES} for it",
        names=(
            "threading",
            "_thread",
            "concurrent.futures",
            "multiprocessing",
            "subprocess",
            "asyncio.to_thread",
            "asyncio.create_subprocess_exec",
            "asyncio.create_subprocess_shell",
            "asyncio.subprocess",
            "os.fork*",
            "os.popen",
            "os.posix_spawn*",
            "os.spawn*",
            "os.system",
        ),
        allowed_in=(_ENV, _PROCESSES),
    ),
    Rule(
        name="unsafe-load",
        message="runs or can run what a file says; use msgspec, safetensors, JSON or TOML",
        names=(
            "pickle",
            "cPickle",
            "_pickle",
            "cloudpickle",
            "dill",
            "joblib",
            "marshal",
            "shelve",
            "pandas.read_pickle",
            "torch.load",
            "yaml.load",
            "yaml.load_all",
            "yaml.full_load*",
            "yaml.unsafe_load*",
        ),
    ),
    Rule(
        name="as-completed",
        message="yields in an order that depends on object addresses; use gather or a TaskGroup",
        names=("asyncio.as_completed",),
    ),
)
_CONCURRENCY_METHODS = ("run_in_executor", "subprocess_exec", "subprocess_shell")  # of whatever loop
_CODE_BUILTINS = ("eval", "exec")
_ADDRESS_BUILTINS = ("hash", "id")
_BROAD = ("Exception", "BaseException")
_FINDABLE_BUILTINS = (*_CODE_BUILTINS, *_ADDRESS_BUILTINS, *_BROAD)
_SET_METHODS = ("union", "intersection", "difference", "symmetric_difference", "copy")
_ORDER_KEEPERS = ("list", "tuple", "iter", "enumerate", "reversed", "zip", "map", "filter")
_ORDER_KEEPING_METHODS = ("join", "fromkeys")
_ORDER_FORGETTERS = ("sorted", "set", "frozenset", "any", "all", "len")
_MARKER = re.compile(r"#\s*purity:\s*(?P<reason>[^#]*)")


@dataclass(frozen=True, order=True)
class Finding:
    """One broken rule at one place."""

    path: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.message}"


def check_source(source: str, path: str) -> list[Finding]:
    """Return the findings of one file, by line; `path` is relative to the repository, with slashes."""
    try:
        tree = ast.parse(source, filename=path)
    except SyntaxError as error:
        return [Finding(path, error.lineno or 1, "syntax", error.msg)]
    visitor = _Visitor(tree, path)
    visitor.visit(tree)
    markers = dict(_markers(source))
    excused = {line for line, reason in markers.items() if reason}
    used: set[int] = set()
    findings: set[Finding] = set()
    for finding, line_last in visitor.found:
        here = excused.intersection(range(finding.line, line_last + 1))
        used |= here
        if not here:
            findings.add(finding)
    for line, reason in markers.items():
        if not reason:
            findings.add(Finding(path, line, "marker", "give the reason: `# purity: <reason>`"))
        elif line not in used:
            findings.add(Finding(path, line, "marker", "excuses nothing on this line; remove it"))
    return sorted(findings)


def _markers(source: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and (match := _MARKER.search(token.string)):
            yield token.start[0], match["reason"].strip()


class _Visitor(ast.NodeVisitor):
    """Collects findings, each with the last line on which a marker may excuse it."""

    def __init__(self, tree: ast.Module, path: str) -> None:
        self.found: list[tuple[Finding, int]] = []
        self._path = path
        self._aliases = dict(_aliases(tree))
        self._own = _own_names(tree)
        self._bound = _bound_names(tree)
        self._in_annotation = False
        self._unordered: set[ast.AST] = set()  # comprehensions whose order nobody sees

    # Names: imports, attributes, builtins.

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            # `import numpy.random` alone draws nothing and an annotation needs it; the draw is found where it is.
            if alias.name != "numpy.random":
                self._check_dotted(alias.name, alias)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level or node.module is None:
            return
        for alias in node.names:
            dotted = f"{node.module}.{alias.name}"
            if alias.name == "*":
                self._check_star(node.module, alias)
            elif dotted not in ("numpy.random", "numpy.random.Generator"):
                self._check_dotted(dotted, alias)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        dotted = self._resolve(node)
        if dotted is not None:
            self._check_dotted(dotted, node)
            return  # the inner parts are the same name, said again
        if node.attr in _CONCURRENCY_METHODS:
            self._report(
                "concurrency", f"{node.attr} leaves the event loop; ask {_ENV} for it", node, allowed_in=(_ENV,)
            )
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load) or (node.id in _FINDABLE_BUILTINS and node.id in self._bound):
            return  # a parameter called `id` is no address; `id(x)` is found as a call all the same
        dotted = self._resolve(node)
        if dotted is not None:
            self._check_dotted(dotted, node)

    def _check_dotted(self, dotted: str, node: ast.expr | ast.alias) -> None:
        for rule in NAME_RULES:
            if any(_matches(dotted, pattern) for pattern in rule.names):
                if dotted == "numpy.random.Generator" and self._in_annotation:
                    return
                self._report(rule.name, f"{dotted} {rule.message}", node, allowed_in=rule.allowed_in)
        builtin = dotted.removeprefix("builtins.")
        if builtin in _CODE_BUILTINS:
            self._report("unsafe-load", f"{builtin} runs text as code; parse it", node)
        elif builtin in _ADDRESS_BUILTINS and not self._path.startswith("tests/"):
            self._report("address", f"{builtin} differs between processes; use a key of your own", node)

    def _check_star(self, module: str, node: ast.alias) -> None:
        for rule in NAME_RULES:
            if any(_matches(module, name) or name.startswith(f"{module}.") for name in rule.names):
                self._report(
                    rule.name, f"import * from {module} hides what is used; name it", node, allowed_in=rule.allowed_in
                )

    def _resolve(self, node: ast.expr) -> str | None:
        """Return the dotted name that an expression stands for; None when it is not an imported name or a builtin."""
        if isinstance(node, ast.Name):
            if node.id in self._aliases:
                return self._aliases[node.id]
            return f"builtins.{node.id}" if node.id in _FINDABLE_BUILTINS and node.id not in self._own else None
        if isinstance(node, ast.Attribute):
            owner = self._resolve(node.value)
            return None if owner is None else f"{owner}.{node.attr}"
        return None

    # Annotations may name np.random.Generator.

    def visit_arg(self, node: ast.arg) -> None:
        self._visit_annotation(node.annotation)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._visit_annotation(node.annotation)
        self.visit(node.target)
        if node.value is not None:
            self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._visit_function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._visit_function(node)

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for part in (*node.decorator_list, node.args, *node.body):
            self.visit(part)
        self._visit_annotation(node.returns)

    def _visit_annotation(self, node: ast.expr | None) -> None:
        if node is None:
            return
        before, self._in_annotation = self._in_annotation, True
        self.visit(node)
        self._in_annotation = before

    # Calls: what an argument gives away.

    def visit_Call(self, node: ast.Call) -> None:
        function = self._resolve(node.func)
        name = node.func.id if isinstance(node.func, ast.Name) else function
        if function is not None:
            self._check_dotted(function, node.func)
        if (name == "__import__" or function == "importlib.import_module") and (module := _text(node)) is not None:
            self._check_dotted(module, node)
        if function == "numpy.load" and _allows_pickle(node):
            self._report("unsafe-load", "numpy.load with allow_pickle can run code", node)
        if function == "numpy.datetime64" and _text(node) in ("now", "today"):
            self._report("wall-clock", f'numpy.datetime64("{_text(node)}") reads the clock', node, allowed_in=(_ENV,))
        if function == "contextlib.suppress":
            for argument in node.args:
                self._check_broad(argument, at=node)
        method = node.func.attr if isinstance(node.func, ast.Attribute) else None
        if name in _ORDER_KEEPERS or method in _ORDER_KEEPING_METHODS:
            for argument in node.args:
                self._check_order(argument)
        if name in _ORDER_FORGETTERS and not node.keywords:  # sorted(key=...) leaves ties in the order they came
            self._unordered.update(node.args)
        self.generic_visit(node)

    # Catching everything.

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.type is None:
            self._report_broad("a bare except", node, line_last=node.lineno)
        else:
            self._check_broad(node.type, at=node.type)
        self.generic_visit(node)

    def _check_broad(self, caught: ast.expr, *, at: ast.expr) -> None:
        for node in caught.elts if isinstance(caught, ast.Tuple) else [caught]:
            name = (self._resolve(node) or "").removeprefix("builtins.")
            if name in _BROAD:
                self._report_broad(name, at, line_last=at.end_lineno or at.lineno)

    def _report_broad(self, what: str, node: ast.expr | ast.ExceptHandler, *, line_last: int) -> None:
        message = (
            f"{what} catches what nobody here can finish handling; name the errors, or let {_SUPERVISOR} have them"
        )
        if self._path != _SUPERVISOR:
            self.found.append((Finding(self._path, node.lineno, "broad-except", message), line_last))

    # The order of a set.

    def visit_For(self, node: ast.For) -> None:
        self._check_order(node.iter)
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._visit_comprehension(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        self._visit_comprehension(node)

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._visit_comprehension(node)

    def visit_SetComp(self, node: ast.SetComp) -> None:
        self.generic_visit(node)  # a set made of a set has no order to lose

    def visit_Starred(self, node: ast.Starred) -> None:
        if isinstance(node.ctx, ast.Load):
            self._check_order(node.value)
        self.generic_visit(node)

    def visit_YieldFrom(self, node: ast.YieldFrom) -> None:
        self._check_order(node.value)
        self.generic_visit(node)

    def _visit_comprehension(self, node: ast.ListComp | ast.GeneratorExp | ast.DictComp) -> None:
        if node not in self._unordered:
            for part in node.generators:
                self._check_order(part.iter)
        self.generic_visit(node)

    def _check_order(self, iterable: ast.expr) -> None:
        if self._is_set(iterable):
            self._report("set-order", "the order of a set differs between processes; sort it first", iterable)

    def _is_set(self, node: ast.expr) -> bool:
        match node:
            case ast.Set() | ast.SetComp():
                return True
            case ast.Call(func=ast.Name(id="set" | "frozenset" as name)):
                return name not in self._own
            case ast.Call(func=ast.Attribute(value=owner, attr=method)):
                return method in _SET_METHODS and self._is_set(owner)
            case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor(), right=right):
                return self._is_set(left) or self._is_set(right)
            case ast.IfExp(body=body, orelse=orelse):
                return self._is_set(body) or self._is_set(orelse)
        return False

    def _report(self, rule: str, message: str, node: ast.expr | ast.alias, *, allowed_in: tuple[str, ...] = ()) -> None:
        if self._path not in allowed_in:
            line_last = node.end_lineno or node.lineno
            self.found.append((Finding(self._path, node.lineno, rule, message), line_last))


def _matches(dotted: str, pattern: str) -> bool:
    if pattern.endswith("*"):
        return dotted.startswith(pattern[:-1])
    return dotted == pattern or dotted.startswith(f"{pattern}.")


def _aliases(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield each imported local name and the dotted name it stands for; scopes are not told apart."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname is not None:
                    yield alias.asname, alias.name
                else:
                    top = alias.name.partition(".")[0]
                    yield top, top
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _own_names(tree: ast.Module) -> set[str]:
    """Return what the module itself defines at its top: no builtin of that name is meant below."""
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return names


def _bound_names(tree: ast.Module) -> set[str]:
    """Return every parameter and every name assigned to, wherever in the file."""
    names = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return names | {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def _text(call: ast.Call) -> str | None:
    match call.args:
        case [ast.Constant(value=str(text)), *_]:
            return text
    return None


def _allows_pickle(load: ast.Call) -> bool:
    given = [keyword.value for keyword in load.keywords if keyword.arg == "allow_pickle"] + load.args[2:3]
    return any(not (isinstance(value, ast.Constant) and value.value is False) for value in given)


def python_files(paths: list[Path]) -> list[Path]:
    """Return every Python file under the paths, sorted, each once."""
    return sorted({file.resolve() for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path])})


def main(arguments: list[str] | None = None) -> int:
    """Lint the paths of the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="purity_lint", description="Find clocks, randomness, threads and the like.")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="file or directory in the repository")
    paths: list[Path] = parser.parse_args(arguments).paths
    if absent := [str(path) for path in paths if not path.exists()]:
        parser.error(f"no such file or directory: {', '.join(absent)}")
    files = python_files(paths)
    findings: list[Finding] = []
    for file in files:
        findings += check_source(file.read_text(encoding="utf-8"), _repository_path(file))
    for finding in findings:
        print(finding)
    print(f"purity: {len(files)} files, {len(findings)} findings", file=sys.stderr)
    return 1 if findings else 0


def _repository_path(file: Path) -> str:
    here = Path.cwd().resolve()
    return (file.relative_to(here) if file.is_relative_to(here) else file).as_posix()


if __name__ == "__main__":
    sys.exit(main())
