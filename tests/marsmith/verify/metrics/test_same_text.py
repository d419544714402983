from __future__ import annotations

import pytest

from marsmith.errors import BuildError
from marsmith.verify.metrics.same_text import measure


def test_only_what_is_written_the_same_counts() -> None:
    said = [{"text": text} for text in ("1987-02-03", "1987-2-3", "", "x")]
    assert measure(said, ["1987-02-03", "1987-02-03", "", "X"]) == 0.5  # type: ignore[arg-type]


@pytest.mark.parametrize("expected", [[], [3], [["x"]]])
def test_what_is_no_text_is_refused(expected: list[str]) -> None:
    with pytest.raises(BuildError, match="must be strings"):
        measure([{"text": "x"}] * len(expected), expected)
