"""BentoML, as its first example is written."""

from pathlib import Path

import bentoml

from benchmarks.first_answer.plain import Plain


@bentoml.service
class Classifier:
    """The plain classifier."""

    def __init__(self) -> None:
        self.plain = Plain()

    @bentoml.api  # type: ignore[untyped-decorator]  # not installed here
    def predict(self, data: Path) -> dict[str, float]:
        """Answer an image."""
        return self.plain.answer(data.read_bytes())
