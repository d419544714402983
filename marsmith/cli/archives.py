"""`marsmith inspect`, `sign`, `verify`, `sbom`, `openapi` and `run`: of archives that there are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marsmith.cli import foreign, terminal
from marsmith.cli import predict as predicting
from marsmith.cli.arguments import Trust
from marsmith.cli.inputs import answer_of, bodies
from marsmith.cli.json_output import AsJson, AsLines, print_json, print_line, tell
from marsmith.cli.terminal import out


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
        print_json(found)
    else:
        terminal.show_archive(found)
        terminal.warn_of_instructions(archive)


def sign(
    archive: Annotated[Path, typer.Argument(help="A .mar file, or FILE@sha256:DIGEST.")],
    key: Annotated[Path, typer.Option(help="A private key of an elliptic curve, PEM.")],
    as_json: AsJson = False,
) -> None:
    """Write ARCHIVE.sig, a signature of OpenSSF's form, for `verify` and `serve --trust`."""
    from marsmith.archive import signing

    signature = signing.sign(archive, key)
    tell(as_json, {"signature": signature}, f"wrote {signature}")


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
    by_hand = "" if found.said.sums else "; packed by hand: it lists no SHA-256 of its files"
    signed = f"; signed by {signer}" if trust else ""
    said = {"archive": named.path, "sha256": found.sha256, "listed": bool(found.said.sums)}
    words = f"{named.path}: sha256 {found.sha256}{signed}{by_hand}"
    tell(as_json, {**said, "signed_by": signer}, words)


def sbom(archive: Annotated[Path, typer.Argument(help="A .mar file.")]) -> None:
    """Print the bill of materials of an archive: CycloneDX, JSON."""
    from marsmith.archive.sbom import document

    print_json(document(archive))


def openapi(
    archives: Annotated[list[Path], typer.Argument(help="The .mar files of one server.")],
    address: Annotated[
        str, typer.Option(help="The server's inference address.")
    ] = "http://127.0.0.1:8080",
) -> None:
    """Print an OpenAPI document of a server of these archives."""
    from marsmith.archive.openapi import document

    print_json(document(archives, address))


def run(
    archive: Annotated[Path, typer.Argument(help="A .mar file, or FILE@sha256:DIGEST.")],
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(help="Request bodies; several make one batch; - is standard input."),
    ] = None,
    text: predicting.Texts = None,
    media_type: predicting.MediaType = None,
    as_json: AsLines = False,
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
            found = {"input": each.name, "status": response.status, "answer": answer_of(said)}
            print_line(found)
        else:
            out.print(f"{each.name}: {response.status} {said}", markup=False)
    if any(response.status >= 400 for response in responses):
        raise typer.Exit(1)
