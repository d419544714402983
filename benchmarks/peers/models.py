"""The models that are measured: what is asked of each, which answers are equal, its files."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.generation import FOLLOWING
from benchmarks.generation import bodies as prompts
from examples import digits, minilm, resnet50

JPEG, PNG, TEXT, JSON = "image/jpeg", "image/png", "text/plain", "application/json"
EQUAL_TEXTS = 0.8
"""Of greedy texts: where two tokens are equally likely, a batch of another size decides."""


@dataclass(frozen=True)
class Model:
    """A model, as every contender serves it.

    Attributes:
        archive: the name of ours.
        media_type: of a raw body.
        bodies: what is sent.
        unlike: how far two answers lie apart, in [0, 1].
        near: how far they may in one file's answers.
        nearly: how far where the weights are rounded otherwise.
        connections: how many clients ask.
        streams: whether answers come piece by piece.
    """

    archive: str
    media_type: str
    bodies: Callable[[], list[bytes]]
    unlike: Callable[[Any, Any], float]
    near: float
    nearly: float = 0.0
    connections: tuple[int, ...] = (16, 1)
    streams: bool = False

    def differs(self, ours: Sequence[Any], theirs: Sequence[Any], *, own: bool = False) -> str:
        """Why answers aren't the same ones, "" if they are.

        Args:
            ours: of ours.
            theirs: of another, to the same bodies.
            own: whether it has weights of its own form.
        """
        far = [self.unlike(*each) for each in zip(ours, theirs, strict=True)]
        if self.streams:
            equal = 1 - float(np.mean(far))
            return "" if equal >= EQUAL_TEXTS else f"{equal:.0%} of the texts are the same"
        limit = self.nearly if own else self.near
        return "" if max(far) <= limit else f"answers lie {max(far):.2g} apart, {limit:g} may"


def scores_apart(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """The largest difference of a probability, as a share of it; 1 where the likeliest is gone."""
    if not {next(iter(one)), next(iter(other))} <= one.keys() & other.keys():
        return 1.0
    shared = one.keys() & other.keys()
    return max(abs(one[name] - other[name]) / max(one[name], other[name]) for name in shared)


def vectors_apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """1 less the cosine."""
    return 1 - float(np.dot(one["embedding"], other["embedding"]))


def texts_apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """0 where all is the same: the text, and how many tokens it has."""
    keys = ("text", "tokens")
    return float([one[key] for key in keys] != [other[key] for key in keys])


def asked() -> list[bytes]:
    """Prompts as JSON, as `plain.Gpt` takes them."""
    texts = [json.loads(each)["data"] for each in prompts()]
    return [json.dumps({"prompt": each, "max_new_tokens": FOLLOWING}).encode() for each in texts]


MODELS = {
    "resnet50": Model("resnet50", JPEG, resnet50.held_out, scores_apart, 0.05, 0.15),
    "minilm": Model(
        "minilm", TEXT, lambda: [text for text, _ in minilm.sentences()], vectors_apart, 2e-3, 2e-2
    ),
    "generation": Model("stdlib_gpt", JSON, asked, texts_apart, 0.0, streams=True),
    "constant": Model(
        "constant", TEXT, lambda: [b"x"], lambda one, other: float(one != other), 0.0,
        connections=(32, 1),
    ),
    "digits": Model(
        "digits", PNG, lambda: [image for image, _ in digits.held_out()], scores_apart, 1e-2
    ),
}  # fmt: skip


def answer(content: bytes) -> Any:
    """Read an answer: JSON, or lines of it, whose texts are put together.

    Raises:
        ValueError: it is neither.
    """
    try:
        said = json.loads(content)
    except ValueError:
        lines = [json.loads(line) for line in content.splitlines() if line.strip()]
        said = {**lines[-1], "text": "".join(line.get("text", "") for line in lines)}
    return said[0] if isinstance(said, list) else said


def settings(kind: str, archive: Path, folder: Path) -> Path:
    """Write the model of an archive, and the settings to run it by, into a folder.

    Returns:
        The settings' file; see `plain`.

    Raises:
        SystemExit: the archive has no model that `plain` can run.
    """
    with zipfile.ZipFile(archive) as packed:
        section = yaml.safe_load(packed.read("model-config.yaml"))["handler"]
        names = [name for name in packed.namelist() if "/" not in name]
        files = [name for name in names if name.endswith((".xml", ".onnx", ".pt"))]
        if not files:
            raise SystemExit(
                f"{archive} has no model of OpenVINO or ONNX: marsmith build --candidate"
            )
        packed.extractall(folder, names)
    precision = (section.get("runtime_options") or {}).get("precision", "f32")
    keys = ("layers", "key_value_heads", "head_size")
    (folder / "cache.json").write_text(json.dumps([section.get(key) for key in keys]))
    return written(folder / "settings.json", kind, folder / files[0], 1, precision)


def written(to: Path, kind: str, file: Path, threads: int, precision: str) -> Path:
    """Write settings."""
    said = {"kind": kind, "file": str(file), "threads": threads, "precision": precision}
    to.write_text(json.dumps(said))
    return to
