"""`marsmith serve`, `status`, `scale` and `stop`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from marsmith.cli import completion, terminal
from marsmith.cli.arguments import STORE, Port, Store, Trust
from marsmith.cli.json_output import AsJson, print_json, tell
from marsmith.cli.terminal import out, progress


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
    log_format: Annotated[
        Literal["text", "json"], typer.Option(help="Of TorchServe's and the workers' logs.")
    ] = "text",
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
            log_format=log_format,
            on_progress=say,
        )

    def announce() -> None:
        found = server.status(info)
        if as_json:
            print_json(found.model_dump(mode="json"))
            return
        terminal.show_status(found)
        terminal.show_curl(found)
        out.print(f"stop: marsmith stop --port {info.port}")

    if foreground:
        server.wait(info, announce)
    else:
        announce()


def status(port: Port = None, as_json: AsJson = False) -> None:
    """Show a running server's addresses, models and workers; status 1 if one can't be asked."""
    from marsmith.serving import server

    found = server.status(server.running(port))
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        terminal.show_status(found)
    if not found.ready:
        raise typer.Exit(1)


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
        print_json(found.model_dump(mode="json"))
    else:
        terminal.show_status(found)


def stop(port: Port = None, as_json: AsJson = False) -> None:
    """Stop a running server and its workers."""
    from marsmith.serving import server

    info = server.running(port)
    with progress() as say:
        say(f"stop the server on port {info.port}")
        server.stop(info, say)
    tell(as_json, {"stopped": info.port, "logs": info.logs})
