"""`marsmith push` and `marsmith pull`: archives in OCI registries."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from marsmith.cli.json_output import AsJson, tell


def push(
    archive: Annotated[str, typer.Argument(help="A .mar file, or FILE@sha256:DIGEST.")],
    target: Annotated[str, typer.Argument(help="REGISTRY/NAME:TAG.")],
    as_json: AsJson = False,
) -> None:
    """Put an archive into an OCI registry, with its bill of materials and its signature."""
    from marsmith.archive import modelpack

    pushed = modelpack.push(archive, target)
    kinds = (f"  with {kind}" for kind in pushed.referrers)
    tell(as_json, dataclasses.asdict(pushed), f"pushed {pushed.reference}", *kinds)


def pull(
    reference: Annotated[str, typer.Argument(help="REGISTRY/NAME:TAG, or NAME@sha256:DIGEST.")],
    model_store: Annotated[
        Path, typer.Option("--model-store", help="Where archives are kept.")
    ] = Path("model_store"),
    as_json: AsJson = False,
) -> None:
    """Take an archive out of an OCI registry, with its signature; every byte is checked."""
    from marsmith.archive import modelpack

    archive, named = modelpack.pull(reference, model_store)
    found = {"archive": archive, "reference": named}
    tell(as_json, found, f"wrote {archive}", f"it is {named}")
