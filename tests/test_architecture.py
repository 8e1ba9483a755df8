"""The house keeps its shape: imports only fall, nothing runs in circles, budgets, prints and heavy imports stay put."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from medimg_cli.cli.app import COMMANDS

ROOT = Path(__file__).resolve().parents[1] / "medimg_cli"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}

ROOMS = (
    *("errors", "text", "dtypes", "orientation", "affine", "grid", "labels", "header", "storage", "backends"),
    *(
        "formats",
        "statistics",
        "interop",
        "spatial",
        "annotations",
        "operations",
        "media",
        "sources",
        "arrays",
        "members",
        "voxels",
        "operated",
        "annotated",
        "shown",
        "image",
    ),
    *(
        "hashing",
        "expanding",
        "batch",
        "planning",
        "pipeline",
        "assembling",
        "editing",
        "restoring",
        "listing",
        "facts",
        "compare",
        "checks",
        "cataloguing",
        "describing",
        "labelling",
        "digesting",
        "manifests",
        "picturing",
        "cli",
        "__init__",
        "__main__",
    ),
)
"""Rooms from the ground up: a room imports only rooms in front of it."""

HEAVY = frozenset(
    ("numpy", "torch", "nibabel", "SimpleITK", "pydicom", "PIL", "rich", "h5py", "zarr", "fsspec", "ffmpeg")
    + ("distributed", "xarray", "isal", "zlib_ng")
)
LENT = {
    "statistics": {"numpy"},
    "interop": {"numpy"},
    "annotations": {"numpy"},
    "operations": {"numpy"},
    "media": {"numpy", "PIL"},
    "picturing": {"numpy", "PIL"},
    "image": {"numpy"},
    "compare": {"numpy"},
    "hashing": {"numpy"},
}
"""What a room may import at module level although it is slow: nobody comes there who does not need it."""

FOREIGN = {
    "formats.npy": {"numpy"},
    "formats.pictures": {"numpy", "PIL"},
    "formats.through_nibabel": {"numpy", "nibabel"},
    "formats.through_simpleitk": {"numpy", "SimpleITK"},
    "formats.foreign": {"numpy"},
}
"""Codecs that stand on a slow library: they are imported only when a file of their format is met."""

FILE, CLASS, FUNCTION, HANDLER = 400, 300, 50, 20
"""Lines of code without docstrings, comments and blank lines."""


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def room(module: str) -> str:
    return module.partition(".")[0] or "__init__"


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def at_module_level(node: ast.AST) -> Iterator[ast.stmt]:
    """Yield the statements that run when the module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) or is_type_checking(child):
            continue
        if isinstance(child, ast.stmt):
            yield child
        yield from at_module_level(child)


def imported(nodes: Iterator[ast.AST], module: str) -> set[str]:
    """Return the full names of what import statements import."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: write imports in full"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def own(names: set[str]) -> set[str]:
    """Return the modules of ours among imported names."""
    found = set()
    for name in names:
        if name.partition(".")[0] != "medimg_cli":
            continue
        parts = name.split(".")[1:]
        while parts and ".".join(parts) not in MODULES:
            parts.pop()
        found.add(".".join(parts) or "__init__")
    return found


def code_lines(node: ast.AST, text: str) -> set[int]:
    """Return the numbers of the lines of a module that hold code, docstrings apart."""
    silent = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in silent:
            lines.update(range(token.start[0], token.end[0] + 1))
    for part in ast.walk(node):
        if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant) and isinstance(part.value.value, str):
            lines.difference_update(range(part.lineno, (part.end_lineno or part.lineno) + 1))
    return lines


def length(node: ast.stmt, lines: set[int], *, body_only: bool = False) -> int:
    first = node.body[0].lineno if body_only else node.lineno  # type: ignore[attr-defined]
    return len(lines & set(range(first, (node.end_lineno or first) + 1)))


def test_every_room_has_its_floor() -> None:
    unknown = {room(module) for module in MODULES} - set(ROOMS)
    assert not unknown, f"give these rooms a place in ROOMS: {unknown}"


@pytest.mark.parametrize("module", MODULES)
def test_imports_only_fall(module: str) -> None:
    here = ROOMS.index(room(module))
    names = imported(ast.walk(tree(module)), module)
    above = {name for name in own(names) if ROOMS.index(room(name)) > here and name != "__init__"}
    if module in ("", "__main__"):
        return  # they hand out what is below them
    assert not above, f"{module} imports what stands above it"


def test_nothing_runs_in_circles() -> None:
    graph = {module: own(imported(at_module_level(tree(module)), module)) - {module} for module in MODULES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done and module in graph:
            for other in graph[module]:
                visit(other, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("room", ["formats.dicom", "compare", "checks"])
def test_modules_of_a_room_stand_on_those_that_are_listed_before_them(room: str) -> None:
    listed = re.findall(rf"(?<!\w)~?medimg_cli\.({re.escape(room)}\.\w+)`", ast.get_docstring(tree(room)) or "")
    assert sorted(listed) == sorted(module for module in MODULES if module.startswith(f"{room}."))
    for n, module in enumerate(listed):
        names = own(imported(at_module_level(tree(module)), module))
        found = {name for name in names if name.startswith(f"{room}.")}
        assert found <= set(listed[:n]), f"{module} imports what is listed behind it"


@pytest.mark.parametrize("module", MODULES)
def test_slow_libraries_are_imported_where_they_are_needed(module: str) -> None:
    top = {name.partition(".")[0] for name in imported(at_module_level(tree(module)), module)}
    lent = LENT.get(room(module), set()) | FOREIGN.get(module, set())
    assert not top & HEAVY - lent, "import it in the function that needs it"
    assert "typer" not in top or room(module) == "cli"


@pytest.mark.parametrize("module", MODULES)
def test_budgets(module: str) -> None:
    text = MODULES[module].read_text(encoding="utf-8")
    lines = code_lines(tree(module), text)
    over = [f"{module}: {len(lines)} lines"] if len(lines) > FILE else []
    for node in ast.walk(tree(module)):
        limit = {ast.ClassDef: CLASS, ast.FunctionDef: FUNCTION, ast.AsyncFunctionDef: FUNCTION}.get(type(node))
        if limit is not None and length(node, lines) > limit:  # type: ignore[arg-type]
            over.append(f"{module}.{node.name}: {length(node, lines)} lines")  # type: ignore[attr-defined,arg-type]
    assert not over


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_handlers_are_thin(row: object) -> None:
    module, _, name = row.target.partition(":")  # type: ignore[attr-defined]
    module = module.removeprefix("medimg_cli.")
    (handler,) = (n for n in tree(module).body if isinstance(n, ast.FunctionDef) and n.name == name)
    lines = code_lines(tree(module), MODULES[module].read_text(encoding="utf-8"))
    assert length(handler, lines, body_only=True) <= HANDLER
    for statement in handler.body:
        for node in ast.walk(statement):
            assert not isinstance(node, (ast.Try, ast.While, ast.BinOp)), "no try, loop or arithmetic in a handler"


@pytest.mark.parametrize("module", MODULES)
def test_nobody_prints_or_exits(module: str) -> None:
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "exit", "quit"):
            raise AssertionError(f"{module}:{node.lineno} calls {node.func.id}; printing is render.py's")


@pytest.mark.parametrize("module", MODULES)
def test_modules_speak_for_themselves(module: str) -> None:
    node = tree(module)
    assert ast.get_docstring(node), "a module says what it is for"
    public = [n for n in node.body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and not n.name.startswith("_")]
    silent = [n.name for n in public if not ast.get_docstring(n)]
    assert not silent, "public names have docstrings"
