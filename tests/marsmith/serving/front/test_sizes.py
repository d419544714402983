"""What is too large is refused by the front, as its kind may be, before TorchServe reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from marsmith.serving import server
from marsmith.serving.front import configuration
from tests.support.changed_archives import configured
from tests.support.digit_requests import PNGS, binary, tensor
from tests.support.images import blank_png
from tests.support.servers import authorization
from tests.support.waiting import wait_until

MOST = 2000
LARGE = configuration.LARGE_BYTES + 1
GOOD, WRONG = PNGS[0] + bytes(LARGE), bytes(LARGE)
BOMB = blank_png(50_001, 1000) + WRONG
JSON = {"Content-Type": "application/json"}
PATH = "/predictions/digits"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def http(
    digits_archive: Path, server_state: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    def bound(config: dict[str, Any]) -> None:
        config["handler"]["max_json_bytes"] = MOST

    changed = configured(digits_archive, tmp_path_factory.mktemp("bound") / "digits.mar", bound)
    info = server.serve([changed], port=0)
    try:
        headers = {"Authorization": authorization(info)}
        with httpx.Client(base_url=info.inference_address, headers=headers, timeout=60) as client:
            yield client
    finally:
        server.stop(info)


def padded(body: Any, size: int) -> bytes:
    text = json.dumps(body).encode()
    return text + b" " * (size - len(text))


def test_json_is_refused_by_its_own_bound(http: httpx.Client) -> None:
    good = tensor("FP32", [1, 1, 8, 8], [0.5] * 64)
    assert http.post(PATH, content=padded(good, MOST), headers=JSON).status_code == 200
    for kind in ("application/json", "Application/JSON; charset=utf-8", "application/x+json"):
        headers = {"Content-Type": kind}
        answer = http.post(PATH, content=padded(good, MOST + 1), headers=headers)
        assert answer.status_code == 413
        said = f"the JSON has {MOST + 1} bytes; at most {MOST} are allowed"
        assert answer.json()["error"] == said
    answer = http.post(PATH, content=iter([padded(good, 10)]), headers=JSON)
    assert (answer.status_code, answer.json()["hint"]) == (411, "send a Content-Length")


def test_openais_routes_say_it_in_their_way(http: httpx.Client) -> None:
    body = padded({"model": "digits", "input": "x"}, MOST + 1)
    answer = http.post("/v1/embeddings", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "size")


def test_what_is_no_json_has_another_bound(http: httpx.Client) -> None:
    assert http.post(PATH, content=PNGS[0] + bytes(9 * MOST)).status_code == 200
    request = binary(bytes(4 * 64))
    (part,) = request.parameters
    headers = {**request.headers, "Content-Type": "application/octet-stream"}
    assert http.post(PATH, content=part.value, headers=headers).status_code == 200
    headers["Inference-Header-Content-Length"] = str(MOST + 1)
    assert http.post(PATH, content=part.value, headers=headers).status_code == 413


def test_a_form_is_left_to_the_handler(http: httpx.Client) -> None:
    text = padded({"data": "x"}, MOST + 1)
    answer = http.post(PATH, files={"data": ("a.json", text, "application/json")})
    assert answer.status_code == 413
    assert "max_json_bytes" in answer.json()["hint"]


def test_a_description_has_no_body(http: httpx.Client) -> None:
    assert http.get("/descriptions/digits", headers=JSON).status_code == 200


def beside(http: httpx.Client, address: str) -> httpx.Client:
    """Another client with the same key, at another address of this machine."""
    transport = httpx.HTTPTransport(local_address=address)
    return httpx.Client(
        transport=transport, base_url=http.base_url, headers=http.headers, timeout=60
    )


def test_who_sends_what_is_too_much_again_and_again_has_to_pause(http: httpx.Client) -> None:
    with beside(http, "127.0.0.2") as bomber, beside(http, "127.0.0.3") as good:
        assert "max_pixels" in bomber.post(PATH, content=BOMB).json()["hint"]
        # Nor does it help to leave the length out.
        while (answer := bomber.post(PATH, content=iter([BOMB]))).status_code != 429:
            assert answer.status_code == 413
        assert answer.headers["Retry-After"] == "10"
        assert "that came from here lately, 2 held more than is allowed" in answer.json()["error"]
        assert good.post(PATH, content=GOOD).status_code == 200
        assert bomber.post(PATH, content=PNGS[0]).status_code == 200
        wait_until(lambda: bomber.post(PATH, content=GOOD).status_code == 200)


def test_who_sends_large_ones_that_are_good_does_not(http: httpx.Client) -> None:
    with beside(http, "127.0.0.4") as mixed:
        for _ in range(3):
            sent = [mixed.post(PATH, content=GOOD).status_code for _ in range(20)]
            assert set(sent) == {200}
            assert mixed.post(PATH, content=BOMB).status_code == 413
    with beside(http, "127.0.0.5") as wrong:  # nor for what is only wrong
        sent = [wrong.post(PATH, content=WRONG).status_code for _ in range(4)]
        assert set(sent) == {415}
