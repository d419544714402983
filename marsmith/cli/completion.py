"""What a shell may complete: models, recipes, tasks; read off files, so that Tab never waits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import typer

TASKS = Path(__file__).parents[2] / "handlers" / "tasks"


def tasks(incomplete: str) -> list[str]:
    """The tasks there are."""
    return _fitting(incomplete, (file.stem for file in TASKS.glob("[!_]*.py")))


def recipes(incomplete: str) -> list[str]:
    """Recipes: here, in `archiver_configs/`, and in the folder whose name has been begun."""
    typed = Path(incomplete).parent
    folders = dict.fromkeys([typed, Path("archiver_configs")])
    files = (file for folder in folders for file in folder.glob("*.yaml"))
    return _fitting(incomplete, map(str, files))


def stored(ctx: typer.Context, incomplete: str) -> list[str]:
    """The models in the model store."""
    store = Path(ctx.params.get("model_store") or "model_store")
    return _fitting(incomplete, (file.stem for file in store.glob("*.mar")))


def served(incomplete: str) -> list[str]:
    """The models of running servers."""
    return _fitting(incomplete, _served())


def _served() -> Iterator[str]:
    from marsmith.serving.host.run_folder import servers_folder

    for file in servers_folder().glob("*/server.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):  # it stops just now
            yield from json.loads(file.read_text("utf-8"))["models"]


def examples(incomplete: str) -> list[str]:
    """The recipes that come with marsmith."""
    from marsmith.shipped import shipped

    return _fitting(incomplete, (file.stem for file in shipped("archiver_configs").glob("*.yaml")))


def _fitting(incomplete: str, names: Iterator[str]) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})
