"""The rules between the packages, read off the source."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator, Set
from functools import cache
from pathlib import Path

import pytest

from handlers import by_name, tasks
from handlers.base import Handler
from tests.support.paths import ROOT
from tests.support.structure import House, circles, repeated_classes

HANDLERS = sorted((ROOT / "handlers").rglob("*.py"))
MARSMITH = sorted((ROOT / "marsmith").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
ALLOWED = {"handlers", "numpy", "PIL", "torch", "ts"} | sys.stdlib_module_names
# What `pip install marsmith` brings, beside what handlers need; all else is an extra.
BROUGHT = {
    "httpx", "jinja2", "marsmith", "matplotlib", "packaging", "platformdirs", "prometheus_client",
    "psutil", "pydantic", "rich", "safetensors", "typer", "yaml",
}  # fmt: skip
# Packages with a file for each thing of a kind: the file's name is the key.
KINDS = (
    "handlers.tasks", "handlers.runtimes", "handlers.protocols.openai", "marsmith.converters",
    "marsmith.passes", "marsmith.sources", "marsmith.sources.heads", "marsmith.verify.metrics",
)  # fmt: skip
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
for package in map(importlib.import_module, ("handlers", "marsmith")):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        # These are started.
        if module.name not in ("handlers.archive_entry", "marsmith.cli.__main__"):
            importlib.import_module(module.name)
    after = json.dumps(state())
    assert before == after, f"{package.__name__}:\\n{before}\\n{after}"
"""


parsed = cache(lambda path: ast.parse(path.read_text("utf-8")))


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
    """All nodes that importing a module executes: no bodies of functions, no imports for types."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node = ast.Module(node.orelse, [])
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from at_module_level(node)


@pytest.mark.parametrize("path", HANDLERS, ids=relative)
def test_serve_time_never_imports_build_time(path: Path) -> None:
    assert not {"marsmith", "examples", "tests"} & imports(ast.walk(parsed(path)))


@pytest.mark.parametrize("path", HANDLERS, ids=relative)
def test_serve_time_needs_only_what_every_server_has(path: Path) -> None:
    assert imports(at_module_level(parsed(path))) <= ALLOWED_IN.get(path.name, ALLOWED)


@pytest.fixture(scope="module")
def house() -> House:
    return House(ROOT)


def test_every_runtime_has_its_converter() -> None:
    runtimes, converters = (
        {path.stem for path in (ROOT / folder).glob("[!_]*.py")}
        for folder in ("handlers/runtimes", "marsmith/converters")
    )
    assert runtimes <= converters
    assert runtimes


@pytest.mark.parametrize("path", MARSMITH, ids=relative)
def test_build_time_needs_no_extra_to_be_imported(path: Path) -> None:
    if path.name == "_in_tensorflow.py":  # a program of another process
        return
    assert imports(at_module_level(parsed(path))) <= ALLOWED | BROUGHT


def test_no_files_and_no_rooms_lead_to_each_other(house: House) -> None:
    assert circles(house.imports()) == []
    assert circles(house.room_imports()) == []


def test_a_class_has_a_name_of_its_own(house: House) -> None:
    # TorchServe wants one class defined in an archive's entry point, whatever it is called.
    assert set(repeated_classes(house)) <= {"Handler"}


def test_modules_are_found_by_their_names_in_one_place() -> None:
    used = re.compile(r"^\s*(import|from) pkgutil", re.M)
    looking = [path for path in (*HANDLERS, *MARSMITH) if used.search(path.read_text("utf-8"))]
    assert [path.name for path in looking] == ["by_name.py"]


@pytest.mark.parametrize("package", KINDS)
def test_a_new_file_is_all_that_a_new_thing_needs(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "brand_new.py").write_text("")
    (tmp_path / "_not_one.py").write_text("")
    there = importlib.import_module(package)
    monkeypatch.setattr(there, "__path__", [*there.__path__, str(tmp_path)])
    before = by_name.known(package)
    assert "brand_new" in before
    assert "_not_one" not in before
    assert by_name.find(package, "brand_new", "it").__name__ == f"{package}.brand_new"
    monkeypatch.delitem(sys.modules, f"{package}.brand_new")


@pytest.fixture(scope="module")
def lists() -> list[tuple[str, Set[object]]]:
    """Each place in all code that lists constants, and which."""
    return [
        (f"{relative(path)}:{getattr(node, 'lineno', 0)}", said)
        for path in (*HANDLERS, *MARSMITH, *TESTS)
        for node in ast.walk(parsed(path))
        if (items := node.keys if isinstance(node, ast.Dict) else getattr(node, "elts", None))
        and (said := {each.value for each in items if isinstance(each, ast.Constant)})
    ]


@pytest.mark.parametrize("package", KINDS)
def test_nobody_lists_by_hand_what_a_folder_lists(
    package: str, lists: list[tuple[str, Set[object]]]
) -> None:
    names = set(by_name.known(package))
    # A test may choose a few; most of them are a list of all.
    most = max(3, len(names) // 2)
    assert [place for place, said in lists if len(said & names) > most] == []


@pytest.mark.parametrize("task", tasks.known())
def test_a_task_is_one_handler(task: str) -> None:
    assert issubclass(tasks.find(task), Handler)


def test_the_base_knows_no_task() -> None:
    text = (ROOT / "handlers" / "base.py").read_text("utf-8")
    named = "|".join(tasks.known())
    assert re.findall(rf"handlers\.tasks|tasks import|[\"'](?:{named})\b", text) == []


def test_nobody_writes_into_a_handler_from_outside() -> None:
    wrong = re.compile(r"(?<!self)\.?\bhandler\.\w+(, handler\.\w+)* = ")
    for path in (*HANDLERS, *MARSMITH, *TESTS):
        assert wrong.search(path.read_text("utf-8")) is None, relative(path)


def test_no_test_imports_a_test() -> None:
    wrong = re.compile(r"^\s*(from tests\.[\w.]*test_|from tests[\w.]* import .*\btest_)", re.M)
    assert [relative(path) for path in TESTS if wrong.search(path.read_text("utf-8"))] == []


def places(page: str) -> set[str]:
    """The files and folders that the tree of a page names."""
    found: set[str] = set()
    parents: list[str] = []
    for line in page.split("```")[1].strip("\n").splitlines():
        indent = len(line) - len(line.lstrip())
        if indent > 6:  # a description goes on
            continue
        names = re.split(r"  +", line.strip())[0].split()
        parents = parents[: indent // 2]
        found |= {"".join(parents) + name for name in names}
        parents.append(names[0])
    return found


def test_the_plan_of_the_house_is_true(house: House) -> None:
    named = places((ROOT / "docs" / "architecture.md").read_text("utf-8"))
    assert [place for place in sorted(named) if not (ROOT / place).exists()] == []
    rooms = {f"{room.replace('.', '/')}/" for room in house.rooms()}
    rooms -= {"marsmith/serving/"}  # the way to its only room
    assert sorted(rooms - named) == []
    singles = {f"{name.replace('.', '/')}.py" for name in house.trees if name.count(".") == 1}
    files = {place for place in singles if (ROOT / place).is_file()}
    assert sorted(files - named) == []


def test_importing_defines_things_and_does_nothing_else() -> None:
    command = [sys.executable, "-c", SIDE_EFFECTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_front_door_is_cheap() -> None:
    look = "import sys, marsmith; print(*{name.partition('.')[0] for name in sys.modules})"
    command = [sys.executable, "-c", look]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"torch", "numpy", "pydantic", "httpx", "handlers"}.isdisjoint(done.stdout.split())


def test_the_front_door_opens() -> None:
    import marsmith

    assert set(marsmith.__all__) <= set(dir(marsmith))
    for name in marsmith.__all__:
        assert getattr(marsmith, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'bulid'"):
        _ = marsmith.bulid


def test_no_test_asserts_a_time() -> None:
    """A busy machine is no bug: how fast something is belongs to benchmarks."""
    clocks = {"monotonic", "perf_counter", "process_time"}

    def bounds(path: Path) -> list[int]:
        nodes = ast.walk(parsed(path))
        asserts = (node for node in nodes if isinstance(node, ast.Assert))
        return [
            each.lineno
            for each in asserts
            if clocks & {node.attr for node in ast.walk(each) if isinstance(node, ast.Attribute)}
        ]

    found = {relative(path): lines for path in TESTS if (lines := bounds(path))}
    assert found == {}
