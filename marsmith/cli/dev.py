"""`marsmith dev`: a model on the page while it is written, built anew whenever a file changes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marsmith.cli import terminal
from marsmith.cli.json_output import AsLines, print_line, told
from marsmith.cli.terminal import err, out, progress
from marsmith.cli.ui import LOOPBACK
from marsmith.errors import BuildError, MarsmithError

if TYPE_CHECKING:
    from marsmith.archive.reading import Named
    from marsmith.serving.server import Server

DRAFTS = ".dev"
"""The folder in the store for what isn't to be shipped."""
QUICKEST = ("torchscript:fp32", "eager:fp32", "onnx:fp32", "openvino:fp32", "pt2:fp32")
PAGE_S = 60.0


def dev(
    recipe: Annotated[Path, typer.Argument(help="A recipe, a YAML file.")],
    port: Annotated[int, typer.Option(help="The page's port; 0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the browser.")] = True,
    model_store: Annotated[
        Path, typer.Option("--model-store", help="A draft goes into its folder .dev.")
    ] = Path("model_store"),
    as_json: AsLines = False,
) -> None:
    """Build what is quickest, serve it, open the page; and again whenever a file changes."""
    from marsmith import causes
    from marsmith.extras import need

    need("ui", "starlette", "uvicorn", "watchfiles")
    from marsmith.serving import server

    store = model_store / DRAFTS
    _share_cache(model_store, store)
    made = _build(recipe, store)
    name = made.path.stem
    with progress() as say:
        # Nobody can have signed what was made just now: its digest says that it is this one.
        served = server.serve([str(made)], port=0, trust=None, on_progress=say)
    try:
        page = _page(served, store, port, browser)
        _tell(
            as_json,
            {"model": name, "page": page, "port": served.port},
            f"{name} is on {page}; its server's port is {served.port}",
            "a change of its files builds it anew; stop: Ctrl-C",
        )
        for changed in _changes(recipe):
            err.print(f"{changed} has changed", highlight=False, markup=False)
            found: dict[str, object] = {"model": name, "changed": changed}
            try:
                made = _build(recipe, store)
                server.rollout(served, name, Path(str(made)), canary=(100,), hold_s=0, shadow=0)
                _tell(as_json, found | {"served": "new"}, f"{name} is served as it is now")
            except Exception as error:  # the user's code may raise anything
                said = error if isinstance(error, MarsmithError) else causes.explained(error)
                if said is None:
                    raise
                terminal.show_error(said)
                found |= {"served": "old", **told(said)}
                _tell(as_json, found, f"{name} is served as it was")
    except KeyboardInterrupt:
        return
    finally:
        with suppress(MarsmithError):  # it was stopped by another command
            server.stop(served)


def _tell(as_json: bool, data: object, *lines: str) -> None:
    if as_json:
        print_line(data)
        return
    for line in lines:
        out.print(line, highlight=False, markup=False)


def _share_cache(model_store: Path, store: Path) -> None:
    """Let drafts use what builds have trained and converted."""
    from marsmith.pipeline.build import CACHE

    store.mkdir(parents=True, exist_ok=True)
    (model_store / CACHE).mkdir(exist_ok=True)
    with suppress(FileExistsError):
        (store / CACHE).symlink_to(Path("..", CACHE))


def _build(path: Path, store: Path) -> Named:
    """Build the quickest form that the recipe allows and the model has.

    Returns:
        The archive, by the bytes that were made.

    Raises:
        MarsmithError: the recipe is wrong, or no form can be built.
    """
    from marsmith.archive.reading import pinned
    from marsmith.pipeline.build import build
    from marsmith.pipeline.candidates import only, wanted
    from marsmith.recipe.reading import load

    recipe = load(path)
    ranks = {each: rank for rank, each in enumerate(QUICKEST)}
    forms = sorted(map(str, wanted(recipe)), key=lambda form: ranks.get(form, len(ranks)))

    def attempt(form: str) -> None:
        with progress() as say:
            build(only(recipe, [form]), store, say)

    for form in forms[:-1]:
        with suppress(BuildError):  # the next one may do what this can't
            attempt(form)
            break
    else:
        attempt(forms[-1])
    return pinned(store / f"{recipe.name}.mar")


def _page(served: Server, reports: Path, port: int, browser: bool) -> str:
    """Serve the page in a thread of its own; return its address.

    Raises:
        MarsmithError: it can't be served.
    """
    from marsmith.ui.run import run
    from marsmith.ui.upstream import Upstream

    told: queue.Queue[str | MarsmithError] = queue.Queue()
    upstream = Upstream.local(served, reports.absolute(), PAGE_S)

    def serve() -> None:
        try:
            run(upstream, LOOPBACK, port, told.put, browser=browser)
        except MarsmithError as error:
            told.put(error)

    threading.Thread(target=serve, daemon=True).start()
    said = told.get(timeout=PAGE_S)
    if isinstance(said, MarsmithError):
        raise said
    return said


def _changes(recipe: Path) -> Iterator[str]:
    """Wait for changes of the files that a model is made of; yield the name of one of each time.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    import watchfiles

    files = _files(recipe)
    while True:
        folders = {file.parent for file in files}

        def counts(_: watchfiles.Change, changed: str) -> bool:
            return Path(changed) in files or changed.endswith(".py")  # noqa: B023 - used in turn

        for changes in watchfiles.watch(*folders, watch_filter=counts, recursive=False):
            yield Path(next(iter(changes))[1]).name
            files = _files(recipe) or files
            if not {file.parent for file in files} <= folders:
                break


def _files(path: Path) -> set[Path]:
    """The recipe, what it names, and the modules of that; nothing where it can't be read now."""
    from marsmith.recipe.reading import load
    from marsmith.recipe.references import source_files

    found = {path}
    with suppress(MarsmithError):
        recipe = load(path)
        found.update((*recipe.files, *recipe.source.files()))
        for said in _texts(recipe.model_dump(mode="json", serialize_as_any=True)):
            with suppress(MarsmithError, ModuleNotFoundError):
                found.update(source_files(said) if ":" in said else ())
    return {file.absolute() for file in found}


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)
