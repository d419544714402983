"""The page's own server, before a real model server."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from marsmith.errors import ServerError
from marsmith.serving.host.run_folder import ServerInfo
from marsmith.ui.app import MOST_BYTES, SWAGGER, application
from marsmith.ui.run import run
from marsmith.ui.upstream import Upstream

PAGE = "http://127.0.0.1:8088"


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (8, 8), 90).save(buffer, "PNG")
    return buffer.getvalue()


def page(upstream: Upstream) -> TestClient:
    return TestClient(application(upstream, "127.0.0.1"), base_url=PAGE)


@pytest.fixture(scope="module")
def ui(digits_server: ServerInfo, store: Path) -> Iterator[TestClient]:
    with page(Upstream.local(digits_server, store, 60.0)) as client:
        yield client


def test_the_page_names_what_it_is_made_of_and_brings_it(ui: TestClient) -> None:
    told = ui.get("/api/server").json()
    assert [model["name"] for model in told["models"]] == ["digits", "wide"]
    assert all(model["up"] for model in told["models"])
    for kind in ("inputs", "views"):
        assert "json.js" in told[kind]
        for name in told[kind]:
            found = ui.get(f"/static/{kind}/{name}")
            assert found.headers["content-type"].startswith("text/javascript")
            assert "export const fits" in found.text
    swagger = [f"/swagger/{name}" for name in SWAGGER]
    for path in ("/", "/docs", "/static/style.css", *swagger):
        assert ui.get(path).status_code == 200
    assert ui.get("/swagger/index.css").status_code == 404


def test_nothing_on_the_page_comes_from_elsewhere(ui: TestClient) -> None:
    policy = ui.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


def test_a_model_says_what_it_takes_and_which_report_is_of_it(ui: TestClient) -> None:
    said = ui.get("/api/models/digits").json()
    assert said["task"] == "image_classification"
    assert said["versions"] == ["1.0"]
    assert said["report"] is True
    report = ui.get("/reports/digits")
    assert "digits" in report.text
    assert report.headers["content-security-policy"].startswith("sandbox")


def test_the_report_of_another_build_is_not_shown(
    digits_server: ServerInfo, store: Path, tmp_path: Path
) -> None:
    told = json.loads((store / "digits.report.json").read_text())
    told["archive"]["sha256"] = "0" * 64
    (tmp_path / "digits.report.json").write_text(json.dumps(told))
    (tmp_path / "digits.report.html").write_text("of another build")
    with page(Upstream.local(digits_server, tmp_path, 60.0)) as other:
        assert other.get("/api/models/digits").json()["report"] is False
        assert other.get("/reports/digits").status_code == 404


def test_after_a_rollout_the_report_is_of_what_serves_now(
    digits_server: ServerInfo, store: Path, tmp_path: Path
) -> None:
    shutil.copy(digits_server.key_file, tmp_path)
    (tmp_path / "b" / "torchserve" / "store").mkdir(parents=True)
    shutil.copy(store / "digits.mar", tmp_path / "b" / "torchserve" / "store")
    now = {side: f"unix:{digits_server.temp_dir / side}/management" for side in ("", "b")}
    for side, report in (("", None), ("b", store / "digits.report.html")):
        changed = {"run_dir": tmp_path, "management_address": now[side]}
        info = digits_server.model_copy(update=changed)
        assert Upstream.local(info, store, 60.0).report("digits") == report


def test_a_request_and_its_answer_are_handed_on_without_the_key(
    ui: TestClient, digits_server: ServerInfo
) -> None:
    answer = ui.post(
        "/api/models/digits/predict", content=picture(), headers={"Content-Type": "image/png"}
    )
    assert answer.status_code == 200
    assert sum(answer.json().values()) <= 1.001
    assert answer.headers["server-timing"].startswith("model;dur=")
    form = {"files": {"data": ("a.png", picture(), "image/png")}, "data": {"top_k": "2"}}
    assert len(ui.post("/api/models/digits/predict", **form).json()) == 2  # type: ignore[arg-type]
    key = digits_server.key.read_text().strip()
    for path in ("/", "/api/server", "/api/models/digits", "/api/figures"):
        assert key not in ui.get(path).text


def test_the_model_servers_own_words_reach_the_page(ui: TestClient) -> None:
    refused = ui.post("/api/models/digits/predict", content=b"no picture")
    assert refused.status_code == 415
    assert refused.json()["hint"]
    assert ui.post("/api/models/digits/9.9/predict").status_code == 404
    no_version = ui.post("/api/models/digits/predict?version=9.9", content=picture())
    assert no_version.status_code == 404
    assert "9.9" in no_version.json()["error"]


def test_the_figures_of_what_was_asked_are_shown(ui: TestClient) -> None:
    ui.post("/api/models/wide/predict", content=picture())
    found = ui.get("/api/figures").json()["wide"]
    assert found["now"]["workers"] >= 1
    assert "0.0005" in found["buckets"]


def test_only_models_are_asked_and_with_no_more_than_they_may_be_sent(ui: TestClient) -> None:
    assert ui.post("/api/models/digits/delete").status_code == 404
    assert ui.get("/api/models/digits/predict").status_code == 405
    assert ui.get("/models").status_code == 404
    assert ui.get("/static/../app.py").status_code == 404
    assert ui.get("/static/%2e%2e/app.py").status_code == 404
    inside = "/api/models/..%2f..%2fmodels%2fdigits/predict"
    assert ui.post(inside, content=picture()).status_code == 404
    too_much = {"Content-Length": str(MOST_BYTES + 1)}
    assert ui.post("/api/models/digits/predict", headers=too_much).status_code == 413

    def endless() -> Iterator[bytes]:
        for _ in range(22):
            yield b"0" * 1_000_000

    assert ui.post("/api/models/digits/predict", content=endless()).status_code == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_another_site_asks_in_vain(ui: TestClient, headers: dict[str, str], status: int) -> None:
    answer = ui.post("/api/models/digits/predict", content=picture(), headers=headers)
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "hint"}


def test_the_paths_of_the_document_are_asked_and_no_others(
    ui: TestClient, digits_server: ServerInfo
) -> None:
    document = ui.get("/api/openapi.json").json()
    assert document["servers"] == [{"url": digits_server.inference_address}]
    example = document["paths"]["/predictions/digits"]["post"]["requestBody"]["content"]
    asked = ui.post(
        "/api/described/predictions/digits", json=example["application/json"]["example"]
    )
    assert asked.status_code == 200
    for path, operations in document["paths"].items():
        for verb in operations if "wide" not in path else ():
            assert ui.request(verb.upper(), f"/api/described{path}").status_code != 404, path
    for path in ("metrics", "models/digits", "predictions/..%2f..%2fmodels%2fdigits", "ping"):
        assert ui.get(f"/api/described/{path}").status_code == 404
    crossed = {"Sec-Fetch-Site": "cross-site"}
    assert ui.post("/api/described/predictions/digits", headers=crossed).status_code == 403


def test_a_server_is_found_by_its_address_and_a_key_too(
    digits_server: ServerInfo, tmp_path: Path
) -> None:
    address = digits_server.inference_address
    with page(Upstream.elsewhere(address, digits_server.key, None, tmp_path, 60.0)) as other:
        names = [model["name"] for model in other.get("/api/server").json()["models"]]
        assert names == ["digits", "wide"]
        body = json.dumps({"data": base64.b64encode(picture()).decode()})
        sent = {"Content-Type": "application/json"}
        asked = other.post("/api/models/digits/predict", content=body, headers=sent)
        assert asked.status_code == 200
        assert "/predictions/digits" in other.get("/api/openapi.json").json()["paths"]
    with page(Upstream.elsewhere(address, None, None, tmp_path, 60.0)) as stranger:
        assert stranger.get("/api/server").status_code == 401


def test_a_model_that_says_nothing_of_itself_can_be_asked(
    tiny_server: ServerInfo, tmp_path: Path
) -> None:
    with page(Upstream.local(tiny_server, tmp_path, 60.0)) as ui:
        said = ui.get("/api/models/tiny").json()
        assert (said["versions"], said["report"]) == (["1.0"], False)
        sent = {"Content-Type": "application/json"}
        answer = ui.post("/api/models/tiny/predict", content=b'{"a": 1}', headers=sent)
        assert answer.json()["body"] == {"a": 1}
        assert ui.get("/api/models/nobody").status_code == 404
        assert "/predictions/tiny" not in ui.get("/api/openapi.json").json()["paths"]


def test_a_port_that_is_taken_is_said(digits_server: ServerInfo, tmp_path: Path) -> None:
    upstream = Upstream.local(digits_server, tmp_path, 60.0)
    with pytest.raises(ServerError, match=f":{digits_server.port}") as caught:
        run(upstream, "127.0.0.1", digits_server.port, lambda _: None, browser=False)
    assert "--port" in caught.value.hint
