"""The rules between the packages, read off the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers import tasks

ROOT = Path(__file__).resolve().parents[1]
HANDLERS = sorted((ROOT / "handlers").rglob("*.py"))
ALLOWED = {"handlers", "numpy", "PIL", "torch", "ts"} | sys.stdlib_module_names
# Every archive's entry point reads its configuration before anything else is there.
ALLOWED_IN = {"archive_entry.py": ALLOWED | {"yaml"}}

SIDE_EFFECTS = """
import importlib, json, logging, os, pkgutil, sys, threading, warnings
import torch, ts.torch_handler.base_handler

def state():
    return {
        "threads": torch.get_num_threads(),
        "interop": torch.get_num_interop_threads(),
        "grad": torch.is_grad_enabled(),
        "dtype": str(torch.get_default_dtype()),
        "precision": torch.get_float32_matmul_precision(),
        "cuda": torch.cuda.is_initialized(),
        "log": [logging.getLogger().level, len(logging.getLogger().handlers)],
        "alive": [thread.name for thread in threading.enumerate()],
        "path": sys.path,
        "cwd": os.getcwd(),
        "environment": dict(os.environ),
        "warnings": [str(each) for each in warnings.filters],
    }

before = json.dumps(state())
import handlers
for module in pkgutil.walk_packages(handlers.__path__, "handlers."):
    if module.name != "handlers.archive_entry":  # a program: it is started, not imported
        importlib.import_module(module.name)
after = json.dumps(state())
assert before == after, f"{before}\\n{after}"
"""


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(nodes: Iterator[ast.AST]) -> set[str]:
    """The packages that import statements among nodes name."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute: a path is an import name"
            found.add((node.module or "").partition(".")[0])
    return found


def at_module_level(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes that importing a module executes: all but the bodies of functions."""
    for node in ast.iter_child_nodes(tree):
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from at_module_level(node)


@pytest.mark.parametrize("path", HANDLERS, ids=relative)
def test_serve_time_never_imports_build_time(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    assert not {"marsmith", "examples", "tests"} & imports(ast.walk(tree))


@pytest.mark.parametrize("path", HANDLERS, ids=relative)
def test_serve_time_needs_only_what_every_server_has(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    assert imports(at_module_level(tree)) <= ALLOWED_IN.get(path.name, ALLOWED)


def test_every_runtime_has_its_converter() -> None:
    runtimes, converters = (
        {path.stem for path in (ROOT / folder).glob("[!_]*.py")}
        for folder in ("handlers/runtimes", "marsmith/converters")
    )
    assert runtimes <= converters
    assert runtimes


@pytest.mark.parametrize("package", ["sources", "heads"])
def test_where_a_model_comes_from_knows_no_converter(package: str) -> None:
    for path in sorted((ROOT / "marsmith" / package).glob("*.py")):
        assert "marsmith.converters" not in path.read_text("utf-8"), path.name


def test_the_base_knows_no_task() -> None:
    text = (ROOT / "handlers" / "base.py").read_text("utf-8")
    assert not [task for task in tasks.known() if task in text]


def test_importing_serve_time_changes_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SIDE_EFFECTS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
