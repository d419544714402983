"""What several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Store = Annotated[Path, typer.Option("--model-store", help="Where archives are kept.")]
STORE = Path("model_store")
Port = Annotated[int | None, typer.Option(help="The server's inference port.")]
Trust = Annotated[
    list[Path] | None,
    typer.Option(help="A public key, or a folder of them: one must have signed it."),
]
