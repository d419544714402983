"""64,000 changed requests, raw and as forms, to six tasks behind the front: each is answered."""

from __future__ import annotations

import base64
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from marsmith.harness.wire import Request
from marsmith.serving import server
from marsmith.serving.server import Server
from tests.support.mutated_requests import mutated
from tests.support.servers import authorization, pids

TASKS = (
    "image_classification", "object_detection", "text_classification", "text_embedding", "tabular",
    "recommendation",
)  # fmt: skip
REQUESTS, THREADS = 64_000, 16
BOUNDARY = b"--x\r\n"
FORM = "multipart/form-data; boundary=x"


def form(value: bytes, kind: str, random_: random.Random) -> tuple[bytes, str]:
    """A form of one field; sometimes something of the form itself is wrong."""
    head = b'Content-Disposition: form-data; name="data"\r\nContent-Type: %s\r\n\r\n'
    whole = BOUNDARY + head % kind.encode() + value + b"\r\n--x--\r\n"
    match random_.randrange(6):
        case 0:
            whole = whole[: random_.randrange(len(whole))]
        case 1:
            place = random_.randrange(min(90, len(whole)))
            whole = whole[:place] + random_.randbytes(3) + whole[place:]
        case 2:
            return whole, random_.choice(["multipart/form-data", "multipart/x; boundary=x", FORM])
    return whole, FORM


def ask(info: Server, http: httpx.Client, request: Request, model: str, seed: int) -> str:
    """Ask with something changed; return the status, and what is wrong with the answer."""
    random_ = random.Random(seed)
    (part,) = mutated(request, random_).parameters
    body, kind = bytes(part.value), part.content_type or "application/octet-stream"
    if random_.random() < 0.4:
        body, kind = form(body, kind, random_)
    elif random_.random() < 0.1:
        kind = "application/x-www-form-urlencoded"
    answer = http.post(f"/predictions/{model}", content=body, headers={"Content-Type": kind})
    said = str(answer.status_code)
    if answer.status_code >= 400:
        told: Any = answer.json()
        said += "" if set(told) == {"error", "hint"} else f" {told}"
    return said


@pytest.mark.slow
def test_nothing_that_is_sent_brings_a_worker_down(
    new_archives: dict[str, Path], server_state: Path
) -> None:
    with server.serve([new_archives[task] for task in TASKS], port=0) as info:
        headers = {"Authorization": authorization(info)}
        examples = {}
        with info.client() as client:
            for model in info.models:
                described: Any = client.describe(model)["customizedMetadata"]
                example = described["example"]
                body = base64.b64decode(example["body_base64"])
                examples[model] = Request.raw(body, example["content_type"])
        before = pids(info)

        def go(number: int) -> Counter[str]:
            found: Counter[str] = Counter()
            with httpx.Client(
                base_url=info.inference_address, headers=headers, timeout=120
            ) as http:
                for seed in range(number, REQUESTS, THREADS):
                    model = info.models[seed % len(info.models)]
                    found[ask(info, http, examples[model], model, seed)] += 1
            return found

        with ThreadPoolExecutor(THREADS) as pool:
            said = sum(pool.map(go, range(THREADS)), Counter())
        print(dict(said))
        assert sum(said.values()) == REQUESTS
        assert [each for each in said if not each.startswith(("200", "4"))] == []
        assert all(len(each) == 3 for each in said)
        assert pids(info) == before
        with info.client() as client:
            for model, example in examples.items():
                (part,) = example.parameters
                client.predict(model, bytes(part.value), content_type=part.content_type)
