"""A handler of TorchServe's, as people write them around an engine of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plain import plain  # lies beside it in the archive


class Served:
    """The plain model."""

    def initialize(self, context: Any) -> None:
        """Load it."""
        self.plain = plain(Path(context.system_properties["model_dir"]) / "settings.json")

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[Any]:
        """Answer a batch."""
        bodies = [bytes(row.get("data") or row["body"]) for row in data]
        answers: list[Any] = self.plain.answer([self.plain.decode(each) for each in bodies])
        return answers
