"""`marsmith ui`: a page in the browser for the models of a running server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marsmith.cli.json_output import AsLines, print_line
from marsmith.cli.terminal import err, out
from marsmith.errors import MarsmithError

LOOPBACK = "127.0.0.1"


def ui(
    server_port: Annotated[
        int | None, typer.Option("--server", help="The model server's inference port.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="That of a server on another machine, as https://HOST:PORT.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="A file with a key for it.")] = None,
    ca: Annotated[Path | None, typer.Option(help="Certificates to trust it by, PEM.")] = None,
    host: Annotated[str, typer.Option(help="The address that the page is served at.")] = LOOPBACK,
    port: Annotated[int, typer.Option(help="Its port; 0 takes a free one.")] = 8088,
    browser: Annotated[bool, typer.Option(help="Open the browser.")] = True,
    model_store: Annotated[
        Path, typer.Option("--model-store", help="Where the reports of builds are.")
    ] = Path("model_store"),
    timeout_s: Annotated[float, typer.Option(help="For each part of an answer.")] = 120.0,
    as_json: AsLines = False,
) -> None:
    """Open a page on which every model of a running server can be tried."""
    from marsmith.extras import need

    need("ui", "starlette", "uvicorn", "swagger_ui")
    from marsmith.serving import server
    from marsmith.ui.guard import is_loopback
    from marsmith.ui.run import run
    from marsmith.ui.upstream import Upstream

    if address is None and (key or ca):
        raise MarsmithError("--key and --ca are for a server at an --address", "leave them out")
    if address is not None and server_port is not None:
        raise MarsmithError("--address and --server both name a server", "leave one out")
    reports = model_store.absolute()
    if address is not None:
        upstream = Upstream.elsewhere(address, key and key.absolute(), ca, reports, timeout_s)
    else:
        upstream = Upstream.local(server.running(server_port), reports, timeout_s)
    if not is_loopback(host):
        err.print(
            f"[bold]warning:[/] whoever reaches {host} can ask the models with your key, without"
            " one of their own"
        )

    def announce(page: str) -> None:
        if as_json:
            print_line({"page": page, "server": upstream.address})
            return
        out.print(f"the models of {upstream.address}: {page}", highlight=False)
        out.print("stop: Ctrl-C", highlight=False)

    try:
        run(upstream, host, port, announce, browser=browser)
    except KeyboardInterrupt:
        return
