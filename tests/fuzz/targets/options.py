"""Settings and options of every task: what a `handler:` section, a body or a form may say."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from contextlib import suppress

from handlers import tasks
from handlers.explanations import ExplanationOptions
from handlers.protocols import json_text
from handlers.schema import SchemaError, json_schema, parse
from tests.support.mutated_requests import edited, spoiled

GAP = b"\n\n"
USUAL = {"integer": 2, "number": 0.5, "boolean": True, "string": "one", "null": None}


def seeds() -> list[bytes]:
    found = []
    for name in tasks.known():
        task = tasks.find(name)
        for what, cls in (("settings", task.Config), ("options", task.Options)):
            schema = json.loads(json_text.dump(json_schema(cls)))
            for share in (1, 3):
                chosen = dict(list(schema["properties"].items())[::share])
                said = {key: _value(each) for key, each in chosen.items()}
                found.append(f"{name} {what}".encode() + GAP + json.dumps(said).encode())
    return found


def _value(schema: Mapping[str, object]) -> object:
    """Something that a schema allows, or nearly."""
    for key in ("enum", "anyOf", "default", "type"):
        said = schema.get(key)
        if isinstance(said, list) and said:
            return _value(said[0]) if isinstance(said[0], dict) else said[0]
        if said is not None:
            return USUAL.get(said, [1]) if key == "type" else said  # type: ignore[call-overload]
    return "x"


def run(data: bytes) -> None:
    head, _, text = data.partition(GAP)
    name, _, what = head.decode("latin-1").partition(" ")
    known = tasks.known()
    task = tasks.find(name if name in known else known[len(data) % len(known)])
    try:
        said = json_text.parse(text, json_text.USUAL)
    except ValueError:
        said = text.decode("latin-1")
    except Exception as error:
        if type(error).__name__ == "BadRequest":
            return
        raise
    with suppress(SchemaError):
        if what == "settings":
            task.settings(said)
        parse(ExplanationOptions if what == "explain" else task.Options, said, where="the options")
    if isinstance(said, dict):
        texts = {
            key: value if isinstance(value, str) else str(value) for key, value in said.items()
        }
        with suppress(SchemaError):
            parse(task.Options, texts, where="the options", text=True)


def mutate(data: bytes, random_: random.Random) -> bytes:
    head, _, text = data.partition(GAP)
    with suppress(ValueError, RecursionError):
        if random_.random() < 0.8:
            return head + GAP + json.dumps(edited(json.loads(text), random_)).encode()
    return head + GAP + spoiled(bytearray(text or b"{"), random_)
