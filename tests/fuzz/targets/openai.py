"""Bodies of OpenAI's routes, to models that answer at them and to some that don't."""

from __future__ import annotations

import json
import random
from typing import Any

from tests.fuzz import messages
from tests.fuzz.messages import message
from tests.support.audio import encode, wave

WORKERS = ("text_generation", "text_embedding", "reranking", "speech_to_text", "speech_synthesis")
JSON = "application/json"


def seeds() -> list[bytes]:
    said = [{"role": "system", "content": "be"}, {"role": "user", "content": "hi größe"}]
    chat = {"model": "model", "messages": said, "max_tokens": 3, "temperature": 0.5, "seed": 1}
    parts = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    complete = {"prompt": ["a", "b"], "max_tokens": 2, "stop": ["x"], "logprobs": None, "n": 1}
    embed = {"input": ["one", "two three"], "encoding_format": "base64", "dimensions": 16}
    rank = {"query": "one", "documents": ["two", {"text": "one"}], "top_n": 1}
    rank |= {"return_documents": True}
    speak = {"input": "one größe", "voice": "ada", "speed": 2, "response_format": "pcm"}
    return [
        _to("text_generation", "v1/chat/completions", chat),
        _to("text_generation", "v1/chat/completions", {"messages": parts, "stream": True,
            "max_completion_tokens": 2, "stream_options": {"include_usage": True}}),
        _to("text_generation", "v1/completions", complete),
        _to("text_generation", "v1/completions", {"prompt": "a", "max_tokens": 2, "stream": True}),
        _to("text_embedding", "v1/embeddings", embed),
        _to("text_embedding", "v1/embeddings", {"input": "one", "user": "me"}),
        _to("reranking", "v1/rerank", rank),
        _to("reranking", "v1/nothing", {}),
        _to("speech_synthesis", "v1/audio/speech", speak),
        _to("speech_synthesis", "v1/audio/speech", {"input": "one", "response_format": None}),
        _recording("v1/audio/transcriptions", response_format="json"),
        _recording("v1/audio/transcriptions", response_format="text", temperature="0"),
        _recording("v1/audio/translations", prompt="one"),
    ]  # fmt: skip


def _to(worker: str, route: str, body: Any) -> bytes:
    return message(worker, json.dumps(body).encode(), JSON, X_Openai_Route=route)


def _recording(route: str, **fields: str) -> bytes:
    part = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    body = part % (b"file", b'; filename="a.wav"', encode(wave(800), 16_000))
    for name, value in {"model": "model", **fields}.items():
        body += part % (name.encode(), b"", value.encode())
    said = {"X_Openai_Route": route, "X_Form_Type": "multipart/form-data; boundary=x"}
    kind = "application/octet-stream"
    return message("speech_to_text", body + b"--x--\r\n", kind, **said)


def run(data: bytes) -> None:
    messages.run(data, WORKERS)


def mutate(data: bytes, random_: random.Random) -> bytes:
    return messages.mutate(data, random_)
