"""The `marsmith` command: one function per verb; results on stdout, progress on stderr."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from marsmith.errors import MarsmithError

app = typer.Typer(
    help="A trained PyTorch model in, a verified archive that TorchServe serves out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)

MEDIA_TYPES = {".json": "application/json", ".txt": "text/plain"}

Store = Annotated[Path, typer.Option("--model-store", help="Where archives are kept.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Port = Annotated[int | None, typer.Option(help="The server's inference port.")]
STORE = Path("model_store")


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Say what is being done: a live line on a terminal, plain lines in a pipe."""
    if not err.is_terminal:
        yield lambda line: err.print(line, markup=False)
        return
    with err.status("") as status:
        last: list[str] = []

        def say(line: str) -> None:
            if last:
                err.print(f"[green]✓[/] {last.pop()}")
            last.append(line)
            status.update(line)

        yield say
        if last:
            err.print(f"[green]✓[/] {last.pop()}")


@app.command()
def build(
    recipe: Annotated[Path, typer.Argument(help="A YAML file; see archiver_configs/.")],
    model_store: Store = STORE,
    retrain: Annotated[bool, typer.Option(help="Train anew, whatever was trained before.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a verified archive of a recipe."""
    from marsmith.build import build as run
    from marsmith.recipe import load

    with progress() as say:
        report = run(load(recipe), model_store, say, retrain=retrain)
    if as_json:
        return out.print_json(data=report)
    table = Table("form", report["metric"] or "metric", "largest error", "least cosine")
    for rung in report["ladder"]:
        metric = "-" if rung["metric"] is None else f"{rung['metric']:.4f}"
        cosine = "-" if rung["min_cosine"] is None else f"{rung['min_cosine']:.6f}"
        error = f"{rung['max_abs_error']:.2g}"
        table.add_row(rung["name"], metric, error, cosine)
    out.print(table)
    archive = model_store / f"{report['name']}.mar"
    out.print(
        f"{archive}  {report['archive']['bytes']:,} bytes  sha256 {report['archive']['sha256']}"
    )
    return None


@app.command()
def inspect(archive: Path, as_json: AsJson = False) -> None:
    """Show what is in an archive, without loading it."""
    from marsmith.package import inspect as read

    found = read(archive)
    if as_json:
        return out.print_json(data=found)
    facts, handler = found["facts"] or {}, (found["config"] or {}).get("handler", {})
    out.print(f"[bold]{found['archive']}[/]  {found['bytes']:,} bytes  sha256 {found['sha256']}")
    for key in ("task", "runtime", "precision"):
        out.print(f"{key}: {handler.get(key, 'unknown')}")
    for form, value in facts.get("measured", {}).items():
        out.print(f"{facts['metric'] or 'metric'}, {form}: {value}")
    out.print("input:", json.dumps(facts.get("input", "unknown"), indent=2), markup=False)
    for name, file in found["files"].items():
        out.print(f"{file['sha256'][:16]}  {file['bytes']:>12,}  {name}", markup=False)
    if found["damaged"]:
        raise MarsmithError(f"damaged since it was built: {', '.join(found['damaged'])}")
    return None


@app.command()
def run(
    archive: Annotated[Path, typer.Argument(help="A .mar file.")],
    inputs: Annotated[list[Path], typer.Argument(help="Request bodies; several make one batch.")],
) -> None:
    """Try an archive in TorchServe's own worker, without a server and without Java."""
    from marsmith.harness import Harness
    from marsmith.wire import Request

    requests = [Request.raw(read_input(path), media_type(path)) for path in inputs]
    with Harness(archive, batch_size=len(requests)) as harness:
        responses = harness.predict(requests)
    for path, response in zip(inputs, responses, strict=True):
        out.print(
            f"{path}: {response.status} {response.body.decode('utf-8', 'replace')}", markup=False
        )
    if any(response.status >= 400 for response in responses):
        raise typer.Exit(1)


@app.command()
def serve(
    archives: Annotated[
        list[str] | None, typer.Argument(help="Files, or names in the model store; default: all.")
    ] = None,
    model_store: Store = STORE,
    port: Annotated[int, typer.Option(help="Inference port; 0 takes free ones.")] = 8080,
    timeout_s: Annotated[float, typer.Option(help="For every model to be ready.")] = 300.0,
    foreground: Annotated[bool, typer.Option(help="Stay until Ctrl-C, then stop.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start TorchServe, and return when every model answers."""
    from marsmith import server

    with progress() as say:
        info = server.serve(
            archives or [], model_store=model_store, port=port, timeout_s=timeout_s, on_progress=say
        )

    def announce() -> None:
        found = server.status(info)
        if as_json:
            out.print_json(data=found)
            return
        show_status(found)
        show_curl(found)
        out.print(f"stop: marsmith stop --port {info.port}")

    if foreground:
        server.wait(info, announce)
    else:
        announce()


@app.command()
def status(port: Port = None, as_json: AsJson = False) -> None:
    """Show a running server's addresses, models and workers."""
    from marsmith import server

    found = server.status(server.running(port))
    if as_json:
        out.print_json(data=found)
    else:
        show_status(found)


@app.command()
def predict(
    model: str,
    inputs: Annotated[list[Path], typer.Argument(help="Request bodies, sent one by one.")],
    option: Annotated[list[str] | None, typer.Option(help="An option, as name=value.")] = None,
    port: Port = None,
    timeout_s: Annotated[float, typer.Option(help="For each answer.")] = 60.0,
) -> None:
    """Send inputs to a running server and print its answers, one JSON line each."""
    from marsmith import server

    options = dict(read_option(each) for each in option or [])
    with server.client(server.running(port), timeout_s) as client:
        for path in inputs:
            answer = client.predict(
                model, read_input(path), content_type=media_type(path), options=options
            )
            if isinstance(answer, bytes):
                sys.stdout.buffer.write(answer)
            else:
                sys.stdout.write(json.dumps(answer) + "\n")


@app.command()
def scale(
    model: str,
    min_workers: Annotated[int, typer.Option(min=1)],
    max_workers: Annotated[int | None, typer.Option(min=1)] = None,
    port: Port = None,
) -> None:
    """Change how many workers a model has, and wait until they are ready."""
    from marsmith import server

    info = server.running(port)
    with progress() as say:
        server.scale(info, model, min_workers, max_workers, on_progress=say)
    show_status(server.status(info))


@app.command()
def stop(port: Port = None) -> None:
    """Stop a running server and its workers."""
    from marsmith import server

    info = server.running(port)
    with progress() as say:
        say(f"stop the server on port {info.port}")
        server.stop(info)


def read_input(path: Path) -> bytes:
    """A request body from a file.

    Raises:
        MarsmithError: the file can't be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise MarsmithError(f"the input {path} can't be read: {error.strerror}") from error


def media_type(path: Path) -> str:
    """The media type that an input's file name stands for; none means raw bytes."""
    return MEDIA_TYPES.get(path.suffix.lower(), "")


def read_option(text: str) -> tuple[str, Any]:
    """An option from "name=value".

    Raises:
        MarsmithError: there is no "=" in it.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise MarsmithError(f"the option {text!r} must be name=value")
    return name, value


def show_status(found: dict[str, Any]) -> None:
    """Print a server's status for people."""
    for key in ("inference_address", "management_address", "metrics_address", "key_file"):
        out.print(f"{key.replace('_', ' ')}: {found[key]}", markup=False)
    table = Table("model", "version", "batch", "workers")
    for model in found["models"]:
        workers = ", ".join(f"{w['status']} (pid {w['pid']})" for w in model["workers"])
        table.add_row(model["name"], model["version"], str(model["batch_size"]), workers)
    out.print(table)


def show_curl(found: dict[str, Any]) -> None:
    """Print a request that can be pasted into a shell."""
    key = json.loads(Path(found["key_file"]).read_text("utf-8"))["inference"]["key"]
    for model in found["models"][:1]:
        url = f"{found['inference_address']}/predictions/{model['name']}"
        out.print(
            f"try: curl --max-time 60 -H 'Authorization: Bearer {key}' {url} -T INPUT", markup=False
        )


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command; an error of ours is a message and status 1, never a traceback."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        app(arguments)
    except MarsmithError as error:
        err.print(f"[bold red]error:[/] {escape(error.message)}")
        if error.hint:
            err.print(f"[bold]hint:[/] {escape(error.hint)}")
        sys.exit(1)
    sys.exit(0)


if __name__ == "__main__":
    main()
