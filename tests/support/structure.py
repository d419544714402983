"""How the house stands, in figures: `python -m tests.support.structure [FOLDER ...]`.

Of every folder given, a checkout, a column; of none, this one. Tests, examples and templates don't
count.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

PACKAGES = ("handlers", "marsmith")
LONG_FUNCTION, LONG_BODY = 40, 6  # lines
Graph = Mapping[str, set[str]]


class House:
    """The modules of a checkout, read.

    Args:
        root: the checkout.

    Attributes:
        sources: by module, its text.
        trees: by module, what it says.
    """

    def __init__(self, root: Path) -> None:
        files = sorted(path for name in PACKAGES for path in (root / name).rglob("*.py"))
        self.sources = {_module(path.relative_to(root)): path.read_text("utf-8") for path in files}
        self.trees = {name: ast.parse(text) for name, text in self.sources.items()}
        self.packages = {
            _module(path.relative_to(root)) for path in files if path.name == "__init__.py"
        }

    def rooms(self) -> set[str]:
        """The folders that hold code."""
        return {self._room(name) for name in self.trees}

    def imports(self) -> Graph:
        """By module, the modules that it imports anywhere, but for types alone."""
        return {
            name: {found for each in _imported(tree) if (found := self._known(each))} - {name}
            for name, tree in self.trees.items()
        }

    def room_imports(self) -> Graph:
        """By room, the rooms that its files import; a file right in a package is its own."""
        graph: dict[str, set[str]] = defaultdict(set)
        for name, others in self.imports().items():
            mine = self._place(name)
            graph[mine] |= {place for other in others if (place := self._place(other)) != mine}
        return graph

    def _known(self, name: str) -> str | None:
        while name and name not in self.trees:
            name = name.rpartition(".")[0]
        return name or None

    def _room(self, name: str) -> str:
        return name if name in self.packages else name.rpartition(".")[0]

    def _place(self, name: str) -> str:
        room = self._room(name)
        return name if room in PACKAGES else room


def _module(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        yield from _imported(node)


def circles(graph: Graph) -> list[set[str]]:
    """The sets of nodes, of two and more, that all lead to each other."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            for other in graph.get(todo.pop(), ()):
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
        return seen

    reach = {node: reached(node) for node in graph}
    found = {frozenset(o for o in reach[n] if n in reach.get(o, ())) for n in graph}
    return [set(each) for each in found if len(each) > 1]


def functions(house: House) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions and methods."""
    return [
        node
        for tree in house.trees.values()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]


def annotated(house: House) -> Iterator[ast.expr]:
    """What parameters, results and variables are said to be."""
    for tree in house.trees.values():
        for node in ast.walk(tree):
            if isinstance(node, (ast.arg, ast.AnnAssign)) and node.annotation:
                yield node.annotation
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.returns:
                yield node.returns


def has_any(annotation: ast.expr) -> bool:
    """Whether `Any` is in an annotation."""
    return any(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(annotation))


def repeated_classes(house: House) -> dict[str, int]:
    """The names of classes that are defined more than once."""
    names = Counter(
        node.name
        for tree in house.trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    )
    return {name: count for name, count in names.items() if count > 1}


def repeated_bodies(house: House) -> list[list[str]]:
    """The functions whose bodies, of LONG_BODY lines or more without the docstring, are equal."""
    found: dict[str, list[str]] = defaultdict(list)
    for node in functions(house):
        body = node.body[1:] if ast.get_docstring(node) else node.body
        if body and (body[-1].end_lineno or 0) - body[0].lineno + 1 >= LONG_BODY:
            found["\n".join(map(ast.dump, body))].append(node.name)
    return [names for names in found.values() if len(names) > 1]


def figures(root: Path) -> dict[str, str]:
    """What is measured of a checkout, in words."""
    house = House(root)
    lines = [text.count("\n") for text in house.sources.values()]
    sizes = [(node.end_lineno or 0) - node.lineno + 1 for node in functions(house)]
    long, said = sum(size > LONG_FUNCTION for size in sizes), list(annotated(house))
    vague = sum(map(has_any, said))
    classes = repeated_classes(house)
    return {
        "rooms": str(len(house.rooms())),
        "files": str(len(lines)),
        "lines": str(sum(lines)),
        "median file": f"{statistics.median(lines):.0f}",
        "longest file": str(max(lines)),
        "functions": str(len(sizes)),
        f"over {LONG_FUNCTION} lines": f"{long} ({100 * long / len(sizes):.1f} %)",
        "circles of files": str(len(circles(house.imports()))),
        "circles of rooms": str(len(circles(house.room_imports()))),
        "annotations": str(len(said)),
        "with Any": f"{vague} ({100 * vague / len(said):.1f} %)",
        "class names used twice": f"{len(classes)} {' '.join(sorted(classes))}".strip(),
        f"equal bodies of {LONG_BODY} lines": str(len(repeated_bodies(house))),
    }


def main() -> None:
    """Print the table."""
    roots = [Path(each) for each in sys.argv[1:]] or [Path(__file__).resolve().parents[2]]
    columns = [figures(root) for root in roots]
    for name in columns[0]:
        print(f"{name:28}", *(f"{column[name]:>16}" for column in columns))


if __name__ == "__main__":
    main()
