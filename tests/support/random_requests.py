"""Requests of any task, of chance, made of what its archive says of itself."""

from __future__ import annotations

import base64
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from marsmith.harness.wire import FormField, Request
from tests.support import audio
from tests.support.images import encode, noise

SCRIPTS = ["a model", "größe", "модель", "模型", "نموذج", "👩‍🔬 e\u0301", "\n\t", "x" * 300]
PICTURES = [("PNG", "L"), ("PNG", "RGB"), ("PNG", "P"), ("JPEG", "RGB"), ("WEBP", "RGBA")]

Instance = Callable[[random.Random], Any]
"""Makes a good instance of chance."""


def picture(random_: random.Random) -> bytes:
    """An encoded image of any size, mode and format."""
    form, mode = random_.choice(PICTURES)
    width, height = random_.randint(1, 70), random_.randint(1, 70)
    return encode(noise(width, height, mode, random_.randrange(10**6)), form)


def recording(random_: random.Random) -> Any:
    """A second at most, as a file of any format or as its samples."""
    samples = audio.wave(random_.randint(1, 8000), random_.randrange(10**6)).round(3).tolist()
    # Of what is wrong in an MP3, libmpg123 writes to the terminal.
    return random_.choice([samples, audio.recording(random_, mp3=False)])


def text(random_: random.Random) -> str:
    """Words of several scripts, at least one of them no blank."""
    return " ".join(["one", *random_.choices(SCRIPTS, k=random_.randint(0, 12))])


def line(random_: random.Random) -> str:
    """As much of such a text as can be spoken."""
    return text(random_)[:20]


def text_or_pair(random_: random.Random) -> Any:
    """A text, or two, in one of the forms that pairs have."""
    one, other = text(random_), text(random_)
    return random_.choice([one, {"text": one}, {"text": one, "text_pair": other}, [one, other]])


def question(random_: random.Random) -> Any:
    """A question and a context, in one of the forms that these have."""
    one, other = text(random_), text(random_)
    return random_.choice([{"question": one, "context": other}, [one, other]])


def ranked(random_: random.Random) -> Any:
    """A query, and documents to rank by it, in one of the forms that these have."""
    query, documents = text(random_), [text(random_) for _ in range(random_.randint(1, 9))]
    return {"query": query, "documents": random_.choice([documents, json.dumps(documents)])}


def text_with_labels(random_: random.Random) -> Any:
    """A text, and labels for it, in one of the forms that these have."""
    labels = random_.sample([*SCRIPTS[:5], "a cat"], random_.randint(1, 6))
    return {"text": text(random_), "candidate_labels": random_.choice([labels, ", ".join(labels)])}


def masked(random_: random.Random) -> str:
    """A text with a mask or more in it."""
    return " ".join([text(random_), *["[MASK] a"] * random_.randint(1, 3)])


def text_or_comparison(random_: random.Random) -> Any:
    """A text, alone or with some to compare it with."""
    one, others = text(random_), [text(random_) for _ in range(random_.randint(0, 9))]
    return random_.choice([one, {"text": one}, {"text": one, "compare_with": others}])


def history(archive: Path) -> Instance:
    """Some ids of the catalogue in an archive, as a list or in an object."""
    ids = _read(archive, "catalogue.json")

    def make(random_: random.Random) -> Any:
        chosen = random_.choices(ids, k=random_.randint(0, 60))
        return random_.choice([chosen, {"history": chosen}])

    return make


def row(archive: Path) -> Instance:
    """Values for the columns of an archive, some of them missing, as an object or a list."""
    columns = _read(archive, "columns.json")["columns"]

    def value(column: dict[str, Any], random_: random.Random) -> Any:
        if random_.random() < 0.15:
            return None
        if column["type"] == "category":
            return random_.choice(column["values"])
        return random_.gauss(column["mean"], column["std"])

    def make(random_: random.Random) -> Any:
        values = {column["name"]: value(column, random_) for column in columns}
        return random_.choice([values, list(values.values())])

    return make


def _read(archive: Path, name: str) -> Any:
    """What a file of an archive, or of a folder with what goes into one, has."""
    place = archive if archive.is_dir() else zipfile.Path(archive)
    return json.loads((place / name).read_text("utf-8"))


# What makes instances, by what an archive says that it takes; the first that fits.
INSTANCES: dict[str, Callable[[Path], Instance]] = {
    "image": lambda archive: picture,
    "recording": lambda archive: recording,
    "history": history,
    "row": row,
    "documents": lambda archive: ranked,
    "masked": lambda archive: masked,
    "candidates": lambda archive: text_with_labels,
    "instance": lambda archive: question,
    "comparison": lambda archive: text_or_comparison,
    "pair": lambda archive: text_or_pair,
    "voices": lambda archive: line,
    "text": lambda archive: text,
}


def instances(description: dict[str, Any], archive: Path) -> Instance:
    """What makes instances for an archive; its own example where nothing else does.

    Args:
        description: what it says of itself.
        archive: it, or a folder with what goes into it.
    """
    for name, make in INSTANCES.items():
        if name in description["input"]:
            return make(archive)
    own = base64.b64decode(description["example"]["body_base64"])
    return lambda random_: own


def options(schema: dict[str, Any], random_: random.Random) -> dict[str, Any]:
    """Some of the options that a schema has, each within its bounds."""
    found: dict[str, Any] = {}
    for name, each in schema["properties"].items():
        if random_.random() < 0.5:
            continue
        low = each.get("minimum", 0)
        match each.get("type"):
            case "boolean":
                found[name] = random_.random() < 0.5
            case "integer":
                found[name] = random_.randint(low, int(each.get("maximum", low + 8)))
            case "number":
                found[name] = random_.uniform(low, each.get("maximum", low + 1))
    return found


def good(
    description: dict[str, Any], instance: Instance, random_: random.Random
) -> tuple[str, Request]:
    """A request that must be answered, and the form that it is in."""
    explain = bool(description["explanations"]) and random_.random() < 0.15
    said = description["explanations"] if explain else description
    asked = options(said["options"], random_)
    asked |= {"steps": 4} if explain else {}
    form = random_.choice(["raw", "data", "v1", "v2", "form"])
    one = instance(random_)
    if "seed" in said["options"]["properties"]:
        asked["seed"] = random_.randrange(2**63)  # of chance, but the same alone
    if "max_new_tokens" in said["options"]["properties"]:
        asked["max_new_tokens"] = random_.randint(8, 40)  # more would say no more
    if form in ("v1", "v2") or "voices" in description["input"]:
        asked.pop("stream", None)  # a stream takes one instance; one of sound, an Accept
    if form == "v1":
        several = [jsonable(instance(random_)) for _ in range(random_.randint(1, 3))]
        body = {"instances": several, "parameters": asked}
        return form, Request.json(body, explain=explain)
    if form == "v2":
        strings = [as_text(instance(random_)) for _ in range(random_.randint(1, 3))]
        entry = {"name": "x", "shape": [len(strings)], "datatype": "BYTES", "data": strings}
        return form, Request.json({"inputs": [entry], "parameters": asked}, explain=explain)
    if form == "raw" and isinstance(one, (bytes, str)):
        return form, Request.raw(one if isinstance(one, bytes) else one.encode(), explain=explain)
    if form == "form" and isinstance(one, bytes):
        fields: dict[str, FormField] = {name: json.dumps(value) for name, value in asked.items()}
        fields["data"] = one
        return form, Request.form(fields, explain=explain)
    return "data", Request.json({"data": jsonable(one), "parameters": asked}, explain=explain)


def jsonable(instance: Any) -> Any:
    """An instance as it goes into JSON."""
    return {"b64": as_text(instance)} if isinstance(instance, bytes) else instance


def as_text(instance: Any) -> str:
    """An instance as it goes into a tensor of BYTES."""
    if isinstance(instance, bytes):
        return base64.b64encode(instance).decode()
    return instance if isinstance(instance, str) else json.dumps(instance, ensure_ascii=False)


def bad(random_: random.Random) -> Request:
    """A request that no task may answer."""
    nested: Any = 7
    for _ in range(400):
        nested = [nested]
    return random_.choice(
        [
            Request(),
            Request.raw(b""),
            Request.raw(b"{", "application/json"),
            Request.raw(b"[" * 9999, "application/json"),
            Request.raw(b"\xff\xfe", "text/plain"),
            Request.json(None),
            Request.json({}),
            Request.json({"instances": []}),
            Request.json({"instances": "x"}),
            Request.json({"inputs": []}),
            Request.json({"data": nested}),
            Request.json({"data": "\ud800"}),
            Request.json({"data": True, "parameters": {"no such option": 1}}),
        ]
    )
