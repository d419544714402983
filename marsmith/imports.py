"""Find the files that a module is made of, from the source, without running any of it."""

from __future__ import annotations

import ast
import importlib.util
import sys
import sysconfig
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from marsmith import our_handlers

OURS = frozenset({our_handlers.OURS, our_handlers.HOME / "marsmith"})
INSTALLED = frozenset({"site-packages", "dist-packages"})
STANDARD = Path(sysconfig.get_path("stdlib"))


def closure(names: Iterable[str], *, ours: bool, without: Collection[str] = ()) -> list[Path]:
    """The files of modules and of all that they import, directly or not.

    An import counts wherever it stands in a file, except where only type checkers read it. Imports
    are followed into the folders of packages that the modules lie in, and into `handlers` and
    `marsmith`, installed or not. Of another installed module only its own file counts: it doesn't
    change from build to build.

    Args:
        names: the modules; their files always count. Modules without a file are left out.
        ours: whether to follow imports into `handlers` and `marsmith`.
        without: modules, and packages with all that is in them, not to follow.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    names = tuple(names)
    for name in names:
        if name not in sys.modules and _spec_of(name) is None:
            raise ModuleNotFoundError(f"there is no module {name!r}", name=name)
    return sorted(_found(names, ours, without))


def imported_by(name: str) -> Iterator[str]:
    """What the files of a module's `closure` import, except files that are installed or ours."""
    for file, module in _found([name], ours=False).items():
        if is_users(file):
            yield from named(file, module)


def unseen(names: Iterable[str]) -> list[str]:
    """For each module that is in no file, such as a notebook, a word that never comes again.

    What is kept under a key with one in it is never found: nobody can see whether its code is the
    same.
    """
    return [uuid.uuid4().hex for name in names if _in_memory(name)]


def _in_memory(name: str) -> bool:
    main = sys.modules.get(name) if name == "__main__" else None
    # IPython leaves there the name of a script that it has run.
    found = file_of(name) or _spec_of(name)  # Python's own have no file
    return hasattr(main, "get_ipython") or found is None


def _found(names: Iterable[str], ours: bool, without: Collection[str] = ()) -> dict[Path, str]:
    """The files of `closure`, and the names of their modules."""
    found = {file: name for name in names if (file := file_of(name))}
    homes = {_home(file, name) for file, name in found.items()}
    seen = set(found.values())
    todo = [(file, name) for file, name in found.items() if _is_ours(file) or not _installed(file)]
    while todo:
        for name in _imports(*todo.pop()):
            if name in seen or any(f"{name}.".startswith(f"{each}.") for each in without):
                continue
            seen.add(name)
            file = file_of(name)
            if file is None or file in found:
                continue
            beside = bool(homes & set(file.parents)) and not _installed(file)
            if ours if _is_ours(file) else beside:
                found[file] = name
                todo.append((file, name))
    return found


def file_of(name: str) -> Path | None:
    """Find the file of a module without importing it; None if there is no module or no file."""
    loaded = getattr(sys.modules.get(name), "__file__", None) or ""
    if loaded and not loaded.startswith("<"):  # as a script is called that came on stdin
        return Path(loaded)
    spec = _spec_of(name)
    return Path(spec.origin) if spec and spec.has_location and spec.origin else None


def _spec_of(name: str) -> ModuleSpec | None:
    """Find a module without importing its parent packages: they may do anything."""
    parent, _, _ = name.rpartition(".")
    if parent:
        places = _places(parent)
        # One without a file of its own asks the package above, which isn't imported.
        with suppress(KeyError):
            return PathFinder.find_spec(name, places) if places else None
        return None
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):  # a module without a file
        return None


def _places(name: str) -> list[str]:
    """The folders that a package's modules are searched in."""
    spec = _spec_of(name)
    if spec and spec.origin:
        return list(spec.submodule_search_locations or ())
    parent, _, last = name.rpartition(".")
    above = _places(parent) if parent else sys.path
    return [str(folder) for each in above if (folder := Path(each, last)).is_dir()]


def _home(file: Path, name: str) -> Path:
    """The folder that a module's outermost package lies in."""
    return file.parents[name.count(".") + (file.name == "__init__.py")]


def is_users(file: Path) -> bool:
    """Whether a file is neither installed nor ours."""
    return not _installed(file) and not _is_ours(file)


def _is_ours(file: Path) -> bool:
    return not OURS.isdisjoint(file.parents)


def is_installed(name: str) -> bool:
    """Whether a module is of Python's or another's package, which doesn't change here."""
    file = file_of(name)
    return file is not None and not _is_ours(file) and _installed(file)


def _installed(file: Path) -> bool:
    return bool(INSTALLED & set(file.parts)) or STANDARD in file.parents


def _imports(file: Path, name: str) -> Iterator[str]:
    """What a module may import, anywhere in it, and the parent packages of these and of itself."""
    for each in (name, *named(file, name)):
        parts = each.split(".")
        yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def parsed(file: Path) -> ast.Module:
    """The tree of a file.

    Raises:
        SyntaxError: it isn't Python, for whatever reason.
    """
    try:
        return ast.parse(file.read_bytes())
    # Of bytes that are no text, and of what is nested too deep for Python itself.
    except (ValueError, RecursionError, MemoryError) as error:
        raise SyntaxError(str(error) or "it is nested too deep") from error


def named(file: Path, name: str) -> Iterator[str]:
    """What a module may import, anywhere in it: modules, or names in them.

    Args:
        file: the module's; one that isn't Python imports nothing.
        name: the module's.

    Raises:
        SyntaxError: it is called `.py`, and isn't Python.
    """
    if file.suffix == ".py":
        found = file.stat()
        yield from _named(file, name, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=4096)
def _named(file: Path, name: str, changed_ns: int, size: int) -> tuple[str, ...]:
    """What a file says as long as it doesn't change: a build asks for some several times."""
    return tuple(_said(_executed(parsed(file)), file, name))


def optional(file: Path, name: str) -> set[str]:
    """What a module imports in a `try` that goes on without it; see `named`."""
    nodes = list(ast.walk(parsed(file))) if file.suffix == ".py" else []
    tried = (each for node in nodes if isinstance(node, ast.Try) and _goes_on(node)
             for each in node.body)  # fmt: skip
    return set(_said((inner for each in tried for inner in ast.walk(each)), file, name))


def _goes_on(node: ast.Try) -> bool:
    caught = " ".join(ast.unparse(each.type) for each in node.handlers if each.type)
    return any(kind in caught for kind in ("ImportError", "ModuleNotFoundError"))


def _said(nodes: Iterable[ast.AST], file: Path, name: str) -> Iterator[str]:
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = importlib.util.resolve_name("." * node.level + base, package)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _is_for_types(test: ast.expr) -> bool:
    match test:
        case ast.Name("TYPE_CHECKING") | ast.Attribute(ast.Name("typing"), "TYPE_CHECKING"):
            return True
    return False


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes except those under `if TYPE_CHECKING:`."""
    todo = [tree]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, ast.If) and _is_for_types(node.test):
            todo += node.orelse
        else:
            todo += ast.iter_child_nodes(node)
