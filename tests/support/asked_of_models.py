"""What clients may ask of any model, on all routes and in all forms, made of what it says."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from marsmith.harness.wire import Request
from tests.support import audio, random_requests
from tests.support.mutated_requests import mutated
from tests.support.over_http import sent

GOOD, BAD, CHANGED = 40, 20, 60
"""How many requests of chance."""
TYPES = ("application/json", "application/octet-stream", "text/plain")
BINARY_OUTPUT = {"binary_data_output": True}


def of(description: dict[str, Any], archive: Path, seed: int = 0) -> Iterator[httpx.Request]:
    """Requests to a model; each has an id of its own, by which it can be told from others.

    Args:
        description: what the model says of itself.
        archive: its own.
        seed: of what is chosen by chance.
    """
    name, chance = archive.stem, random.Random(seed)
    instance = random_requests.instances(description, archive)
    chosen = [random_requests.good(description, instance, chance)[1] for _ in range(GOOD)]
    chosen += [mutated(one, chance) for one in _of_one_part(chosen, chance)]
    chosen += [random_requests.bad(chance) for _ in range(BAD)]
    made = [asked for each in chosen if (asked := sent(each, name))]
    for number, asked in enumerate(
        [*made, *_routes(description, name, chance), *_openai(description, name)]
    ):
        asked.headers["X-Request-Id"] = f"{name}-{number}"
        yield asked


def _of_one_part(requests: list[Request], chance: random.Random) -> list[Request]:
    several = [each for each in requests if len(each.parameters) == 1 and each.parameters[0].value]
    return [replace(each) for each in chance.choices(several, k=CHANGED)]


def _routes(
    description: dict[str, Any], name: str, chance: random.Random
) -> Iterator[httpx.Request]:
    """Its own example, whole and broken, on each route that a model has, in each form."""
    example = description["example"]
    kind, body = example["content_type"], base64.b64decode(example["body_base64"])
    said: Any = _in_json(kind, body)
    accepted = {*TYPES, *description["media_types"], "text/event-stream", "application/jsonlines"}
    bodies = {"whole": body, "half": body[: len(body) // 2], "none": b"", "noise": b"\xff\0" * 99}
    plain = {"data": said}
    short = {**plain, "parameters": _short(description)}
    streamed = {**plain, "parameters": {**_short(description), "stream": True}}
    tensor = {"name": "x", "shape": [1], "datatype": "BYTES", "data": [_in_bytes(kind, body)]}
    v1, v2 = {"instances": [said, said]}, {"inputs": [tensor], "id": "mine"}
    documents: list[Any] = [
        plain, short, v1, v2, {**v2, "parameters": BINARY_OUTPUT}, {"instances": [said, {}]},
        {**v1, "parameters": {"nothing": 1}}, streamed, {}, [], 7,
    ]  # fmt: skip
    paths = [
        f"/predictions/{name}", f"/predictions/{name}/1.0", f"/explanations/{name}",
        f"/v1/models/{name}:predict", f"/v1/models/{name}:explain", f"/v2/models/{name}/infer",
        f"/v2/models/{name}/versions/1.0/infer",
    ]  # fmt: skip
    for path in paths:
        # What takes parts of the input away runs the model many times.
        several = documents[:3] if "expla" in path else documents
        yield from (_post(path, each, kind) for each in bodies.values())
        yield from (_json(path, each) for each in several)
        yield from (_post(path, bodies["half"], each) for each in TYPES)
    for accept in sorted(accepted):
        headers = {"Accept": accept}
        yield _post(paths[0], body, kind, headers)
        yield _json(paths[0], streamed, headers)
        yield _json(paths[3], v1, headers)
    yield httpx.Request("PUT", "http://x" + paths[0], content=body, headers={"Content-Type": kind})
    form = [("data", ("x", body, kind))]
    yield httpx.Request("POST", "http://x" + paths[0], files=form)
    yield httpx.Request("POST", "http://x" + paths[0], files=[*form, ("nothing", (None, b"1"))])
    for path in (f"/descriptions/{name}", f"/v2/models/{name}", f"/v1/models/{name}", paths[0]):
        yield httpx.Request("GET", "http://x" + path)


def _openai(description: dict[str, Any], name: str) -> Iterator[httpx.Request]:
    """Bodies of OpenAI's routes; most models refuse most of them."""
    said = [{"role": "user", "content": "import os"}]
    write = {"max_tokens": 6, "temperature": 0.7, "seed": 3}
    recording = audio.encode(audio.wave(8000), 16_000)
    bodies: list[tuple[str, Any]] = [
        ("chat/completions", {"messages": said, **write}),
        ("completions", {"prompt": "def main(", **write}),
        ("completions", {"prompt": ["a", "b"], **write}),
        ("completions", {"prompt": "import ", **write, "stream": True}),
        ("completions", {"prompt": [1, 2], **write}),
        ("embeddings", {"input": ["one", "two three"]}),
        ("embeddings", {"input": "one", "encoding_format": "base64"}),
        ("embeddings", {"input": "one", "dimensions": 10**6}),
        ("rerank", {"query": "open a file", "documents": ["Open it.", "Close it."], "top_n": 1}),
        ("rerank", {"query": "open a file", "documents": []}),
        ("audio/speech", {"input": "1 2 3", "response_format": "wav"}),
        ("audio/speech", {"input": "", "voice": "nobody"}),
    ]
    for route, body in bodies:
        yield _json(f"/v1/{route}", {"model": name, **body})
        yield _json(f"/predictions/{name}/v1/{route}", body)
        yield _post(f"/predictions/{name}/v1/{route}", b'{"', "application/json")
    for route in ("audio/transcriptions", "audio/translations"):
        for file in (recording, b"noise"):
            for form in ("json", "text", "nothing"):
                yield httpx.Request(
                    "POST", f"http://x/v1/{route}", files={"file": ("a.wav", file)},
                    data={"model": name, "response_format": form},
                )  # fmt: skip


def _short(description: dict[str, Any]) -> dict[str, Any]:
    """Options by which a text that is written stays short, and is the same each time."""
    usual = {"max_new_tokens": 8, "seed": 7}
    return {key: usual[key] for key in usual if key in description["options"]["properties"]}


def _in_json(kind: str, body: bytes) -> Any:
    if kind == "application/json":
        said = json.loads(body)
        return said.get("data", said) if isinstance(said, dict) else said
    return body.decode() if kind.startswith("text/") else base64.b64encode(body).decode()


def _in_bytes(kind: str, body: bytes) -> str:
    return body.decode() if kind.startswith(("text/", "application/json")) else _in_json(kind, body)


def _post(
    path: str, body: bytes, kind: str, headers: dict[str, str] | None = None
) -> httpx.Request:
    more = {"Content-Type": kind, **(headers or {})}
    return httpx.Request("POST", "http://x" + path, content=body, headers=more)


def _json(path: str, body: Any, headers: dict[str, str] | None = None) -> httpx.Request:
    return _post(path, json.dumps(body).encode(), "application/json", headers)
