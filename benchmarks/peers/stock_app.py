"""A handler of TorchServe's, as people write them around an engine of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plain import Answer, Plain  # lies beside it in the archive


class Classifier:
    """The plain classifier."""

    def initialize(self, context: Any) -> None:
        """Load it."""
        folder = Path(context.system_properties["model_dir"])
        self.plain = Plain(next(folder.glob("*.xml")))

    def handle(self, data: Sequence[Mapping[str, bytes]], context: Any) -> list[Answer]:
        """Answer a batch."""
        bodies = [bytes(row.get("data") or row["body"]) for row in data]
        answers: list[Answer] = self.plain.answer([self.plain.decode(each) for each in bodies])
        return answers
