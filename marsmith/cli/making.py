"""`marsmith build`, `new` and `convert`: from a model to an archive, or another format."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from marsmith.cli import completion, stopping, terminal
from marsmith.cli.arguments import STORE, Store
from marsmith.cli.json_output import AsJson, print_json
from marsmith.cli.terminal import out, progress
from marsmith.errors import MarsmithError, UnsupportedError


def formats() -> list[str]:
    """The formats that a model can be converted to, by file names: importing them takes seconds."""
    files = Path(__file__).parents[1].joinpath("converters").glob("[!_]*.py")
    return sorted(file.stem for file in files)


def build(
    recipe: Annotated[
        Path,
        typer.Argument(
            help="A YAML file; see archiver_configs/. Or a model, with --task.",
            autocompletion=completion.recipes,
        ),
    ],
    model_store: Store = STORE,
    task: Annotated[
        str | None,
        typer.Option(
            help="The task of a model that has no recipe: one is written.",
            autocompletion=completion.tasks,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="With --task: the model's name; by default its file's.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="With --task: a JSON file, the list of the names of its classes."),
    ] = None,
    factory: Annotated[
        str | None, typer.Option(help='What makes the module of weights: "module:function".')
    ] = None,
    written: Annotated[
        Path | None, typer.Option("--out", help="The recipe to write; by default NAME.yaml.")
    ] = None,
    candidate: Annotated[
        list[str] | None,
        typer.Option(help="Try this one, such as onnx:int8, or all, instead of the recipe's."),
    ] = None,
    retrain: Annotated[bool, typer.Option(help="Train anew, whatever was trained before.")] = False,
    keep_all: Annotated[bool, typer.Option(help="Keep archives of all candidates, too.")] = False,
    served: Annotated[bool, typer.Option(help="Verify it in a running TorchServe, too.")] = False,
    nproc: Annotated[int, typer.Option(min=1, help="Processes that passes train on.")] = 1,
    key: Annotated[
        Path | None, typer.Option("--sign", help="Sign it with this private key.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a verified archive of a recipe; or write one for a model, and make it of that."""
    drafted = {"--name": name, "--labels": labels, "--factory": factory, "--out": written}
    if task is None and (
        left := [option for option, given in drafted.items() if given is not None]
    ):
        raise MarsmithError(
            f"{left[0]} is for a model that has no recipe", "write it there; or say a --task, too"
        )

    from marsmith.archive import signing
    from marsmith.cli import draft
    from marsmith.pipeline.build import build as run
    from marsmith.pipeline.candidates import only
    from marsmith.recipe.reading import load

    if key is not None:
        signing.usable(key)
    if task is not None and nproc > 1:
        raise MarsmithError("--nproc needs a recipe", "write it first: leave --nproc out")
    if task is not None:
        recipe = draft.write(recipe, task, factory, written, name=name, labels=labels)
        typer.echo(f"wrote {recipe}{draft.unknown(load(recipe))}", err=True)
    elif recipe.exists() and recipe.suffix not in draft.RECIPES:
        raise MarsmithError(
            f"{recipe} is not a recipe", "for a model say its --task, such as image_classification"
        )
    read = load(recipe)
    if candidate:
        read = only(read, candidate)
    if nproc > 1:
        from marsmith.training.distributed import launch

        raise typer.Exit(launch(nproc, without(sys.argv[1:], "--nproc")))
    try:
        with progress() as say:
            report = run(read, model_store, say, retrain=retrain, keep_all=keep_all, served=served)
    except BaseException as error:
        if not isinstance(error, KeyboardInterrupt) and stopping.status() != 130:
            raise
        terminal.show_stopped(model_store)
        raise typer.Exit(130) from None
    if report is None:  # another process prints it
        return
    if key is not None:
        typer.echo(f"wrote {signing.sign(model_store / f'{read.name}.mar', key)}", err=True)
    if as_json:
        print_json(report.model_dump())
        terminal.show_doubts(report)
    else:
        terminal.show_report(report, model_store)


def new(
    name: Annotated[str, typer.Argument(help="The model's name; the folder's, too.")],
    task: Annotated[
        str,
        typer.Option(
            help="The task, such as image_classification.", autocompletion=completion.tasks
        ),
    ],
    custom: Annotated[bool, typer.Option(help="Write a handler of your own, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a folder to start from: a recipe and a model that build and serve as they stand."""
    from marsmith import extras
    from marsmith.cli.new import write

    recipe, *others = written = write(name, task, Path(), custom=custom)
    if as_json:
        print_json([*map(str, written)])
        return
    for path in (recipe, *others):
        out.print(f"wrote {path}", markup=False)
    steps = [f"marsmith build {recipe}", f"marsmith serve {name}", f"marsmith predict {name} INPUT"]
    try:
        extras.need_for(task)
    except UnsupportedError as error:
        out.print(f"note: {error.message}", markup=False)
        steps.insert(0, error.hint)
    out.print(f"next: {steps[0]}", *steps[1:], sep="\n      ", markup=False)


def convert(
    recipe: Annotated[
        Path,
        typer.Argument(
            help="A YAML file; see archiver_configs/.", autocompletion=completion.recipes
        ),
    ],
    to: Annotated[str, typer.Option(help="A format, such as onnx or tflite:int8; see below.")],
    to_folder: Annotated[Path, typer.Option("--out", help="An empty folder, or a new one.")],
    as_json: AsJson = False,
) -> None:
    """Write a recipe's model as another system reads it, compared with PyTorch."""
    from marsmith.pipeline.convert import convert as run
    from marsmith.recipe.reading import load

    with progress() as say:
        report = run(load(recipe), to, to_folder, say)
    if as_json:
        print_json(report.model_dump())
    else:
        terminal.show_conversion(report)


def without(arguments: Sequence[str], option: str) -> list[str]:
    """Return the arguments without an option and its value."""
    left = list(arguments)
    for place, argument in enumerate(left):
        if argument.partition("=")[0] == option:
            del left[place : place + (1 if "=" in argument else 2)]
            break
    return left
