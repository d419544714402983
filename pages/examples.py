"""What each task's example is and what it answers: `python -m pages.examples` asks again.

The archives are those that `marsmith new` begins, tiny and with random weights, so the answers are
of the right form and say nothing. They are kept in docs/examples/, and a test asks again.
"""

from __future__ import annotations

import base64
import json
import math
import tempfile
from pathlib import Path
from typing import Any

from handlers.schema import Json
from marsmith.cli import new
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from pages.blocks import ROOT

FOLDER = ROOT / "docs" / "examples"
SHOWN = 6  # items of a long list
CLOSE = 0.02  # other CPUs' kernels round otherwise


def asked(worker: Harness) -> dict[str, Any]:
    """What an archive says that it takes, its example, and what it answers to that."""
    description = worker.describe()
    example = description["example"]
    body = base64.b64decode(example["body_base64"])
    (response,) = worker.predict([Request.raw(body, example["content_type"])])
    if response.status != 200:
        raise ValueError(f"{worker.archive}: the example is answered with {response.status}")
    return {
        "input": description["input"],
        "content_type": example["content_type"],
        "body": _text(body, example["content_type"]),
        "bytes": len(body),
        "media_types": description["media_types"],
        "explains": bool(description["explanations"]),
        "answer": shortened(response.json()),
    }


def read(task: str) -> dict[str, Any]:
    """What is kept of a task."""
    kept: dict[str, Any] = json.loads((FOLDER / f"{task}.json").read_text("utf-8"))
    return kept


def shortened(value: Json) -> Any:
    """The same in four digits, without the rest of long lists, whose lengths are told."""
    if isinstance(value, dict):
        return {key: shortened(inner) for key, inner in value.items()}
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if not isinstance(value, list):
        return value
    rest = [f"... {len(value) - SHOWN} more"] if len(value) > SHOWN else []
    return [*map(shortened, value[:SHOWN]), *rest]


def alike(one: Any, other: Any) -> bool:
    """Whether two answers say the same, but for how numbers are rounded."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE)
    return type(one) is type(other) and one == other


def _text(body: bytes, content_type: str) -> str | None:
    """The body as text; None for what isn't text."""
    return body.decode("utf-8") if content_type.startswith(("text/", "application/json")) else None


def main() -> None:
    """Build what `marsmith new` writes of each task, ask it, and keep what it says."""
    FOLDER.mkdir(exist_ok=True)
    for task in new.tasks():
        with tempfile.TemporaryDirectory() as folder:
            written, *_ = new.write(f"new_{task}", task, Path(folder))
            build(reading.load(written), Path(folder))
            with Harness(Path(folder) / f"new_{task}.mar") as worker:
                said = json.dumps(asked(worker), indent=1, ensure_ascii=False)
        (FOLDER / f"{task}.json").write_text(said + "\n", "utf-8")
        print(task)


if __name__ == "__main__":
    main()
