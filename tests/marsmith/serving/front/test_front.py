"""What may be asked of a real server through its front, by whom, and what is true."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import pytest

from marsmith.client.clients import Client
from marsmith.errors import RequestError
from marsmith.serving.front import keys
from marsmith.serving.front.configuration import HEADER_BYTES
from marsmith.serving.host.run_folder import ServerInfo
from tests.support import smuggling
from tests.support.servers import authorization, scraped
from tests.support.waiting import wait_until

HEALTH = (
    "/v2/health/live", "/v2/health/ready", "/ping", "/v2", "/v2/models/tiny",
    "/v2/models/tiny/ready", "/v2/models/tiny/versions/1.0/ready", "/v1/models/tiny",
)  # fmt: skip
ASKED = {
    "/predictions/tiny": "predict",
    "/predictions/tiny/1.0": "predict",
    "/v1/models/tiny:predict": "predict",
    "/v2/models/tiny/infer": "predict",
    "/v2/models/tiny/versions/1.0/infer": "predict",
    "/explanations/tiny": "explain",
    "/v1/models/tiny:explain": "explain",
}
# Of TorchServe's, and of others: none is there.
CLOSED = (
    "/", "/models", "/models/tiny", "/models/tiny/1.0/set-default", "/api-description",
    "/workflows?url=http://127.0.0.1/x", "/token?type=management", "/invocations",
    "/models/tiny/invoke", "/predictions/tiny/1.0/more", "/predictions/../models", "/v2/models",
    "/v2/repository/index", "/predictions/tiny%2f..%2f..%2fmodels", "/predictions/tiny;x",
)  # fmt: skip


@pytest.fixture
def http(tiny_server: ServerInfo) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=tiny_server.inference_address, timeout=60) as client:
        yield client


@pytest.fixture
def local(tiny_server: ServerInfo) -> dict[str, str]:
    return {"Authorization": authorization(tiny_server)}


@pytest.mark.parametrize("path", HEALTH)
def test_health_needs_no_key(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert answer.status_code == 200
    assert answer.json()
    assert http.head(path).status_code == 200


def test_metadata_are_those_of_the_protocol(http: httpx.Client) -> None:
    said = http.get("/v2/models/tiny").json()
    assert said == {
        "name": "tiny", "versions": ["1.0"], "platform": "torchserve", "inputs": [], "outputs": [],
    }  # fmt: skip
    assert http.get("/v2/models/nope").status_code == 404
    assert http.get("/v2/models/nope/ready").status_code == 404


@pytest.mark.parametrize("path", [*ASKED, *CLOSED, "/metrics", "/descriptions/tiny"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_else_answers_without_a_key(http: httpx.Client, path: str, method: str) -> None:
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic eDp4"}):
        answer = http.request(method, path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "marsmith keys add" in answer.json()["hint"]


@pytest.mark.parametrize("path", CLOSED)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_of_management_answers_with_a_key(
    http: httpx.Client, local: dict[str, str], path: str, method: str
) -> None:
    answer = http.request(method, path, headers=local)
    assert answer.status_code == 404
    assert set(answer.json()) == {"error", "hint"}


@pytest.mark.parametrize("path", ASKED)
def test_models_answer_who_has_a_key(http: httpx.Client, local: dict[str, str], path: str) -> None:
    answer = http.post(path, json={"a": 1}, headers=local)
    assert answer.status_code == 200
    assert answer.json()["body"] == {"a": 1}
    assert (answer.json()["explain"] == "True") == (ASKED[path] == "explain")
    assert http.delete(path, headers=local).status_code == 405
    missing = http.post(path.replace("tiny", "nope"), json={}, headers=local)
    assert (missing.status_code, missing.json()["hint"]) == (404, "there are: tiny")


def test_what_torchserve_takes_from_headers_is_not_a_clients_to_say(
    http: httpx.Client, local: dict[str, str]
) -> None:
    said = {**local, "explain": "True", "describe": "True", "X-Form-Type": "x", "Accept": "a/b"}
    answer = http.post("/predictions/tiny?a=b", json={"a": 1}, headers=said).json()
    assert answer["body"] == {"a": 1}
    assert answer["explain"] != "True"
    assert answer["fields"] == {}
    assert answer["accept"] == "a/b"


def test_a_key_is_for_its_scopes_and_its_rate_and_until_it_is_revoked(
    http: httpx.Client, server_state: Path
) -> None:
    made: dict[str, str] = {scope: keys.add(f"for-{scope}", [scope]) for scope in keys.SCOPES}
    made["slow"] = keys.add("slow", rate=2)
    try:

        def status(scope: str, path: str, method: str = "POST") -> int:
            headers = {"Authorization": f"bearer {made[scope]}"}
            return http.request(method, path, json={}, headers=headers).status_code

        def known(name: str) -> bool:
            return status(name, "/nope", "GET") != 401

        for name in made:
            wait_until(partial(known, name))
        for path, scope in ASKED.items():
            for each in keys.SCOPES:
                assert status(each, path) == (200 if each == scope else 403)
        assert status("predict", "/metrics", "GET") == 403
        assert status("predict", "/descriptions/tiny", "GET") == 404  # not 403
        with ThreadPoolExecutor(12) as pool:
            asked = ["/predictions/tiny"] * 12
            assert set(pool.map(partial(status, "slow"), asked)) == {200, 429}
    finally:
        for name in ("slow", *(f"for-{scope}" for scope in keys.SCOPES)):
            keys.revoke(name)
    wait_until(lambda: status("predict", "/predictions/tiny") == 401)


def test_headers_are_as_many_as_torchserve_reads(http: httpx.Client, local: dict[str, str]) -> None:
    """Just below the bound, TorchServe answers; beyond it, the front does."""
    spare = 300  # of httpx's own, and the key
    for size, status in ((HEADER_BYTES - spare, 200), (HEADER_BYTES, 431), (60_000, 431)):
        answer = http.post("/predictions/tiny", content=b"x", headers={**local, "X": "x" * size})
        assert answer.status_code == status
    assert f"at most {HEADER_BYTES} are allowed" in answer.json()["error"]


def test_haproxy_has_nothing_to_warn_of(tiny_server: ServerInfo) -> None:
    said = (tiny_server.logs / "haproxy.log").read_text()
    assert "[WARNING]" not in said, said


def test_a_request_is_logged_without_what_is_in_it(
    http: httpx.Client, local: dict[str, str], tiny_server: ServerInfo
) -> None:
    headers = {**local, "X-Request-Id": "mine-7"}
    answer = http.post("/predictions/tiny?secret=1", json={"private": 1}, headers=headers)
    assert answer.headers["X-Request-Id"] == "mine-7"
    given = http.post("/predictions/tiny", json={}, headers={**local, "X-Request-Id": '"\\'})
    assert len(given.headers["X-Request-Id"]) == 36
    log = tiny_server.logs / "access.log"
    wait_until(lambda: given.headers["X-Request-Id"] in log.read_text())
    (line,) = (line for line in log.read_text().splitlines() if "mine-7" in line)
    said = json.loads(line)
    assert "secret" not in line
    assert "private" not in line
    assert (said["model"], said["version"], said["key"]) == ("tiny", "1.0", "local")
    assert (said["status"], said["refused"], said["route"]) == (200, "-", "predict")
    assert int(said["microseconds"]) > 0


def test_one_address_is_scraped(
    tiny_server: ServerInfo, local: dict[str, str], http: httpx.Client
) -> None:
    http.post("/predictions/tiny", json={}, headers=local)
    http.post("/predictions/tiny")
    wait_until(lambda: 'reason="key"' in scraped(tiny_server))
    text = scraped(tiny_server)
    assert 'marsmith_workers_ready{model="tiny"} 1.0' in text
    assert "marsmith_request_duration_seconds_bucket" in text
    for process in ("supervisor", "haproxy", "java", "worker"):
        (size,) = re.findall(f'marsmith_resident_memory_bytes{{process="{process}"}} (.*)', text)
        assert float(size) > 2**20
    assert "ts_inference_requests_total" in text


def test_a_client_elsewhere_needs_the_front_alone(
    digits_server: ServerInfo, server_state: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "a.key"
    alone.write_text(keys.add("elsewhere") + "\n")
    try:
        for file in (alone, digits_server.key_file):
            with Client(digits_server.inference_address, key_file=file) as client:

                def known(client: Client = client) -> bool:
                    try:
                        client.describe("digits")
                    except RequestError:
                        return False
                    return True

                wait_until(known)
                assert client.describe("digits")["customizedMetadata"]
    finally:
        keys.revoke("elsewhere")


def test_who_does_not_describe_itself_is_not_asked_to(
    http: httpx.Client, local: dict[str, str]
) -> None:
    # A handler of anybody's looks at the first request of a batch alone.
    answer = http.get("/descriptions/tiny", headers=local)
    assert (answer.status_code, answer.json()["error"]) == (
        404,
        "the model tiny does not describe itself",
    )


def test_a_version_that_is_not_there_is_not_ready(http: httpx.Client) -> None:
    for path in ("/v2/models/tiny/versions/99/ready", "/v2/models/tiny/versions/99"):
        answer = http.get(path)
        assert (answer.status_code, answer.json()["hint"]) == (404, "there is: 1.0")


def test_a_body_that_is_too_large_is_refused(http: httpx.Client, local: dict[str, str]) -> None:
    answer = http.post("/predictions/tiny", content=b"x" * (20_971_520 + 1), headers=local)
    assert answer.status_code == 413
    assert "20971520" in answer.json()["error"]


@pytest.mark.slow
def test_no_published_form_leaves_anything_for_the_next(
    tiny_server: ServerInfo, http: httpx.Client, local: dict[str, str]
) -> None:
    key, found = tiny_server.key.read_text(), Counter[tuple[int, ...]]()
    for number, header in enumerate(smuggling.published()):
        for attack in smuggling.attacks(header):
            statuses = smuggling.answers(tiny_server.port, attack.replace("KEY", key))
            found[tuple(statuses)] += 1
            for _ in range(2):
                answer = http.post("/predictions/tiny", json=[number], headers=local)
                assert (answer.status_code, answer.json()["body"]) == (200, [number]), header
    # It is refused, or one request whose end front and TorchServe see at the same place; what
    # follows a line of a bare LF, which ends the headers for both, is refused by the front.
    assert set(found) <= {(400,), (401,), (422,), (200,), (200, 400)}
    assert found[400,] > 0.9 * found.total()


@pytest.mark.parametrize("name", smuggling.FORMS)
def test_no_request_is_smuggled(
    tiny_server: ServerInfo, http: httpx.Client, local: dict[str, str], name: str
) -> None:
    found = smuggling.statuses(tiny_server.port, name, tiny_server.key.read_text())
    if name == smuggling.GOOD:
        assert found == [200, 200]
    elif name in smuggling.NORMALISED:
        assert found[0] in (200, 400)
        assert found[1:] in ([], [200])
    elif name == smuggling.JOINED:
        assert found == [401, 400]
    else:
        assert found == ([] if name == smuggling.CLOSED else [400])
    for number in range(4):  # nor is anything left for those who come after, in TorchServe
        answer = http.post("/predictions/tiny", json={name: number}, headers=local)
        assert (answer.status_code, answer.json()["body"]) == (200, {name: number})
