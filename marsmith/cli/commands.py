"""The `marsmith` command: one function per verb; results on stdout, progress on stderr."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from marsmith import __version__, our_handlers
from marsmith.cli import (
    bench,
    completion,
    deploy,
    dev,
    doctor,
    examples,
    foreign,
    keys,
    listing,
    registries,
    reports,
    rollouts,
    terminal,
    tune,
    ui,
    unpickle,
)
from marsmith.cli import predict as predicting
from marsmith.cli.inputs import answer_of, bodies
from marsmith.cli.terminal import out, progress
from marsmith.errors import MarsmithError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
MAKE, ARCHIVES, SERVERS = "From a model to an archive", "Archives", "Servers"
LISTS = "What there is"

Store = Annotated[Path, typer.Option("--model-store", help="Where archives are kept.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Port = Annotated[int | None, typer.Option(help="The server's inference port.")]
Trust = Annotated[
    list[Path] | None,
    typer.Option(help="A public key, or a folder of them: one must have signed it."),
]
STORE = Path("model_store")


def formats() -> list[str]:
    """The formats that a model can be converted to, by file names: importing them takes seconds."""
    files = Path(__file__).parents[1].joinpath("converters").glob("[!_]*.py")
    return sorted(file.stem for file in files)


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"marsmith {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show it and exit."),
    ] = False,
) -> None:
    """A trained PyTorch model in, a verified archive that TorchServe serves out."""


@app.command(rich_help_panel=MAKE)
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
        recipe = draft.write(recipe, task, factory, written)
        typer.echo(f"wrote {recipe}", err=True)
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
    except KeyboardInterrupt:
        terminal.show_stopped(model_store)
        raise typer.Exit(130) from None
    if report is None:  # another process prints it
        return
    if key is not None:
        typer.echo(f"wrote {signing.sign(model_store / f'{read.name}.mar', key)}", err=True)
    if as_json:
        out.print_json(data=report.model_dump())
        terminal.show_doubts(report)
    else:
        terminal.show_report(report, model_store)


@app.command(rich_help_panel=MAKE)
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
    from marsmith.cli.new import write

    recipe, *others = written = write(name, task, Path(), custom=custom)
    if as_json:
        out.print_json(data=[*map(str, written)])
        return
    for path in (recipe, *others):
        out.print(f"wrote {path}", markup=False)
    out.print(f"next: marsmith build {recipe}", markup=False)
    out.print(f"      marsmith serve {name}", markup=False)
    out.print(f"      marsmith predict {name} INPUT", markup=False)


@app.command(epilog=f"Formats: {', '.join(formats())}.", rich_help_panel=MAKE)
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
        out.print_json(data=report.model_dump())
    else:
        terminal.show_conversion(report)


@app.command(rich_help_panel=ARCHIVES)
def inspect(
    archive: Annotated[Path, typer.Argument(help="A .mar file, or FILE@sha256:DIGEST.")],
    as_json: AsJson = False,
) -> None:
    """Check every byte of an archive and show what is in it, without loading it."""
    from marsmith.archive.reading import inspect as read
    from marsmith.foreign.examine import is_foreign

    if is_foreign(archive):
        foreign.show(archive, as_json=as_json)
        return
    found = read(archive)
    if as_json:
        out.print_json(data=found, default=str)
    else:
        terminal.show_archive(found)
        terminal.warn_of_instructions(archive)


@app.command(rich_help_panel=ARCHIVES)
def sign(
    archive: Annotated[Path, typer.Argument(help="A .mar file, or FILE@sha256:DIGEST.")],
    key: Annotated[Path, typer.Option(help="A private key of an elliptic curve, PEM.")],
) -> None:
    """Write ARCHIVE.sig, a signature of OpenSSF's form, for `verify` and `serve --trust`."""
    from marsmith.archive import signing

    out.print(f"wrote {signing.sign(archive, key)}", markup=False)


@app.command(rich_help_panel=ARCHIVES)
def verify(
    archive: Annotated[Path, typer.Argument(help="A .mar file, or FILE@sha256:DIGEST.")],
    trust: Trust = None,
    as_json: AsJson = False,
) -> None:
    """Check every byte of an archive, and with --trust who has signed it."""
    from marsmith.archive import reading, signing

    named = reading.Named.of(archive)
    found = reading.check(named)
    signer = str(signing.signer(named.path, trust)) if trust else None
    if as_json:
        listed = bool(found.said.sums)
        said = {"archive": str(named.path), "sha256": found.sha256, "listed": listed}
        out.print_json(data={**said, "signed_by": signer})
        return
    by_hand = "" if found.said.sums else "; packed by hand: it lists no SHA-256 of its files"
    signed = f"; signed by {signer}" if trust else ""
    out.print(f"{named.path}: sha256 {found.sha256}{signed}{by_hand}", markup=False)


@app.command(rich_help_panel=ARCHIVES)
def sbom(archive: Annotated[Path, typer.Argument(help="A .mar file.")]) -> None:
    """Print the bill of materials of an archive: CycloneDX, JSON."""
    from marsmith.archive.sbom import document

    out.print_json(data=document(archive))


@app.command(rich_help_panel=ARCHIVES)
def openapi(
    archives: Annotated[list[Path], typer.Argument(help="The .mar files of one server.")],
    address: Annotated[
        str, typer.Option(help="The server's inference address.")
    ] = "http://127.0.0.1:8080",
) -> None:
    """Print an OpenAPI document of a server of these archives."""
    from marsmith.archive.openapi import document

    out.print_json(data=document(archives, address))


@app.command(rich_help_panel=ARCHIVES)
def run(
    archive: Annotated[Path, typer.Argument(help="A .mar file, or FILE@sha256:DIGEST.")],
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(help="Request bodies; several make one batch; - is standard input."),
    ] = None,
    text: predicting.Texts = None,
    media_type: predicting.MediaType = None,
    as_json: AsJson = False,
) -> None:
    """Try an archive in TorchServe's own worker, without a server and without Java."""
    from marsmith.harness.wire import Request
    from marsmith.harness.worker import Harness

    sent = bodies(inputs or [], text or [], media_type)
    requests = [Request.raw(each.data, each.media_type) for each in sent]
    terminal.warn_of_instructions(archive)
    with Harness(archive, batch_size=len(requests)) as harness:
        responses = harness.predict(requests)
    for each, response in zip(sent, responses, strict=True):
        said = response.body.decode("utf-8", "replace")
        if as_json:
            line = {"input": each.name, "status": response.status, "answer": answer_of(said)}
            sys.stdout.write(json.dumps(line) + "\n")
        else:
            out.print(f"{each.name}: {response.status} {said}", markup=False)
    if any(response.status >= 400 for response in responses):
        raise typer.Exit(1)


@app.command(rich_help_panel=SERVERS)
def serve(
    archives: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files, or names in the model store; default: all.",
            autocompletion=completion.stored,
        ),
    ] = None,
    on: Annotated[
        Literal["torchserve", "ray"], typer.Option(help="What serves; Ray Serve needs no Java.")
    ] = "torchserve",
    model_store: Store = STORE,
    port: Annotated[int, typer.Option(help="Where it listens; 0 takes a free one.")] = 8080,
    host: Annotated[str, typer.Option(help="The address that it listens at.")] = "127.0.0.1",
    front: Annotated[bool, typer.Option(help="HAProxy before TorchServe; without: bare.")] = True,
    keys: Annotated[bool, typer.Option(help="Ask for keys; without: loopback only.")] = True,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificates, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Their key, PEM.")] = None,
    client_ca: Annotated[Path | None, typer.Option(help="Ask for certificates of these.")] = None,
    insecure_http: Annotated[bool, typer.Option(help="No TLS beyond loopback.")] = False,
    grpc: Annotated[bool, typer.Option(help="Offer TorchServe's gRPC service.")] = False,
    trust: Trust = None,
    timeout_s: Annotated[float, typer.Option(help="For every model to be ready.")] = 300.0,
    grace_s: Annotated[float, typer.Option(help="For requests on their way at a stop.")] = 30.0,
    foreground: Annotated[bool, typer.Option(help="Stay until Ctrl-C, then stop.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start a server, and return when every model answers."""
    from marsmith.serving import server
    from marsmith.serving.torchserve.archives import find_archives

    for archive in find_archives(archives or [], model_store).values():
        terminal.warn_of_instructions(archive)
    with progress() as say:
        info = server.serve(
            archives or [],
            on=on,
            model_store=model_store,
            port=port,
            host=host,
            front=front,
            keys=keys,
            tls_cert=tls_cert,
            tls_key=tls_key,
            client_ca=client_ca,
            insecure_http=insecure_http,
            grpc=grpc,
            trust=trust or (),
            timeout_s=timeout_s,
            grace_s=grace_s,
            on_progress=say,
        )

    def announce() -> None:
        found = server.status(info)
        if as_json:
            out.print_json(found.model_dump_json())
            return
        terminal.show_status(found)
        terminal.show_curl(found)
        out.print(f"stop: marsmith stop --port {info.port}")

    if foreground:
        server.wait(info, announce)
    else:
        announce()


@app.command(rich_help_panel=SERVERS)
def status(port: Port = None, as_json: AsJson = False) -> None:
    """Show a running server's addresses, models and workers; status 1 if one can't be asked."""
    from marsmith.serving import server

    found = server.status(server.running(port))
    if as_json:
        out.print_json(found.model_dump_json())
    else:
        terminal.show_status(found)
    if not found.ready:
        raise typer.Exit(1)


@app.command(rich_help_panel=SERVERS)
def scale(
    model: Annotated[str, typer.Argument(autocompletion=completion.served)],
    min_workers: Annotated[int, typer.Option(min=1)],
    max_workers: Annotated[int | None, typer.Option(min=1)] = None,
    port: Port = None,
    as_json: AsJson = False,
) -> None:
    """Change how many workers a model has, and wait until they are ready."""
    from marsmith.serving import server

    info = server.running(port)
    with progress() as say:
        server.scale(info, model, min_workers, max_workers, on_progress=say)
    found = server.status(info)
    if as_json:
        out.print_json(found.model_dump_json())
    else:
        terminal.show_status(found)


@app.command(rich_help_panel=SERVERS)
def stop(port: Port = None) -> None:
    """Stop a running server and its workers."""
    from marsmith.serving import server

    info = server.running(port)
    with progress() as say:
        say(f"stop the server on port {info.port}")
        server.stop(info, say)


def without(arguments: Sequence[str], option: str) -> list[str]:
    """Return the arguments without an option and its value."""
    left = list(arguments)
    for place, argument in enumerate(left):
        if argument.partition("=")[0] == option:
            del left[place : place + (1 if "=" in argument else 2)]
            break
    return left


for each in (listing.tasks, listing.runtimes, listing.metrics, listing.passes):
    app.command(rich_help_panel=LISTS)(each)
app.command(rich_help_panel=MAKE)(examples.examples)
app.command(rich_help_panel=MAKE)(reports.report)
app.command(rich_help_panel=ARCHIVES)(reports.diff)
app.command(rich_help_panel=MAKE)(dev.dev)
app.command(rich_help_panel=MAKE)(foreign.adopt)
app.command(rich_help_panel=MAKE)(unpickle.unpickle)
app.command(rich_help_panel=SERVERS)(predicting.predict)
app.command(rich_help_panel=ARCHIVES)(registries.push)
app.command(rich_help_panel=ARCHIVES)(registries.pull)
app.command(rich_help_panel=SERVERS)(bench.bench)
app.command(rich_help_panel=SERVERS)(tune.tune)
app.command(rich_help_panel=SERVERS)(rollouts.rollout)
app.command(rich_help_panel=SERVERS)(rollouts.rollback)
app.command(rich_help_panel=SERVERS)(rollouts.versions)
app.command(rich_help_panel=SERVERS)(doctor.doctor)
app.command(rich_help_panel=SERVERS)(ui.ui)
app.add_typer(keys.app, name="keys", rich_help_panel=SERVERS)
app.add_typer(deploy.app, name="deploy", rich_help_panel=SERVERS)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command; an error of ours becomes a message and status 1, never a traceback."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        our_handlers.claim()
        app(arguments)
    except MarsmithError as error:
        fail(error)
    except (Exception, SystemExit) as error:
        from marsmith import causes

        if (said := causes.explained(error)) is None:
            raise  # the end of the command, or a fault of ours, which is to be told whole
        fail(said)
    sys.exit(0)


def fail(error: MarsmithError) -> NoReturn:
    """Print an error, and end with status 1."""
    terminal.show_error(error)
    sys.exit(1)
