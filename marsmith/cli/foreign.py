"""`marsmith inspect` and `marsmith adopt` of an archive that others made."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marsmith.cli.json_output import AsJson, print_json, tell
from marsmith.cli.terminal import out

if TYPE_CHECKING:
    from marsmith.foreign.examine import Foreign


def show(archive: Path, *, as_json: bool) -> None:
    """Print what is in an archive; nothing of it is run or loaded."""
    from marsmith.foreign.examine import examine
    from marsmith.foreign.plan import verdict

    found = examine(archive)
    if as_json:
        print_json({**dataclasses.asdict(found), "verdict": verdict(found)})
        return
    for line in (*lines(found), f"verdict: {verdict(found)}"):
        out.print(line, markup=False, soft_wrap=True)


def lines(found: Foreign) -> Iterator[str]:
    """What is in an archive, in words."""
    yield f"{found.name} {found.version}  sha256 {found.sha256}  not made by marsmith"
    kind = f"{found.kind}, of TorchServe's" if found.kind else "of no class of TorchServe's"
    yield f"handler: {found.handler}: {kind if found.source is None else f'its own, {kind}'}"
    for name, files in found.imports.items():
        there = "" if importlib.util.find_spec(name) else ", not installed here"
        yield f"imports: {name} ({', '.join(files)}){there}"
    yield f"model: {found.model or 'none'}: {found.form or 'not known'}"
    if found.model_file:
        yield f"the model's class: {found.model_file}"
    for file, pickled in found.pickles.items():
        yield f"pickle: {file}{': it ends before its end' if pickled.damaged else ''}"
        for name in pickled.names:
            called = "called" if name in pickled.called else "named"
            yield f"  {called}  {name}{'  LOOK: no model needs it' * (name in pickled.harmful)}"
    for requirement in found.requirements:
        yield f"requires: {requirement}"
    yield from (f"wrong: {each}" for each in found.wrong)


def adopt(
    archive: Annotated[Path, typer.Argument(help="A .mar of torch-model-archiver's.")],
    folder: Annotated[
        Path | None, typer.Option("--out", help="An empty folder, or a new one.")
    ] = None,
    vocabulary: Annotated[
        Path | None,
        typer.Option(help="Of a text_classifier, as JSON, where its own can't be read."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a recipe for an archive that others made, with the files that it needs."""
    from marsmith.foreign.adopt import adopt as run

    made = run(archive, folder, vocabulary)
    tell(
        as_json,
        dataclasses.asdict(made),
        *(f"wrote {path}" for path in (made.recipe, *made.files)),
        *(f"not carried over: {each}" for each in made.lost),
        f"next: marsmith build {made.recipe}",
    )
