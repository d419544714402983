"""`marsmith push` and `marsmith pull`: archives in OCI registries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marsmith.cli.terminal import out


def push(
    archive: Annotated[str, typer.Argument(help="A .mar file, or FILE@sha256:DIGEST.")],
    target: Annotated[str, typer.Argument(help="REGISTRY/NAME:TAG.")],
) -> None:
    """Put an archive into an OCI registry, with its bill of materials and its signature."""
    from marsmith.archive import modelpack

    pushed = modelpack.push(archive, target)
    out.print(f"pushed {pushed.reference}", markup=False, soft_wrap=True)
    for kind in pushed.referrers:
        out.print(f"  with {kind}", markup=False)


def pull(
    reference: Annotated[str, typer.Argument(help="REGISTRY/NAME:TAG, or NAME@sha256:DIGEST.")],
    model_store: Annotated[
        Path, typer.Option("--model-store", help="Where archives are kept.")
    ] = Path("model_store"),
) -> None:
    """Take an archive out of an OCI registry, with its signature; every byte is checked."""
    from marsmith.archive import modelpack

    archive, named = modelpack.pull(reference, model_store)
    out.print(f"wrote {archive}", markup=False)
    out.print(f"it is {named}", markup=False, soft_wrap=True)
