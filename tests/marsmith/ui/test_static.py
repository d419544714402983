"""What the page's modules compute, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from marsmith.ui.app import STATIC
from tests.support.chromium import chromium

pytestmark = pytest.mark.slow

TYPES = {".js": "text/javascript", ".html": "text/html"}


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """An empty page with the modules beside it, without a server."""
    with chromium() as browser:
        found = browser.new_page()

        def answer(route: Any) -> None:
            name = route.request.url.partition("/static/")[2]
            path = STATIC / name
            body = path.read_text("utf-8") if name else "<!doctype html>"
            route.fulfill(body=body, content_type=TYPES[path.suffix if name else ".html"])

        found.route("**/*", answer)
        found.goto("http://page.test/")
        yield found


def call(page: Page, module: str, code: str) -> Any:
    """Evaluate code with a module as `it`."""
    return page.evaluate(f"import('/static/{module}.js').then((it) => {code})")


def test_every_module_can_be_imported(page: Page) -> None:
    left_out = {"main.js", "docs.js", "recorder-worklet.js"}  # these run something
    for path in sorted(STATIC.rglob("*.js")):
        if path.name not in left_out:
            name = path.relative_to(STATIC).with_suffix("").as_posix()
            assert call(page, name, "Object.keys(it).length")


def test_an_object_keeps_the_order_in_which_it_was_sent(page: Page) -> None:
    text = r'{"a": {"ground": 3, "8": 2, "1": [{"0": "\"}{,:"}, -1.5e3], "__proto__": null}}'
    pairs = call(page, "ordered", f"it.entries(it.parse({text!r}).a)")
    assert [key for key, _ in pairs] == ["ground", "8", "1", "__proto__"]
    same = "JSON.stringify(it.parse(text)) === JSON.stringify(JSON.parse(text))"
    assert call(page, "ordered", f"((text) => {same})({text!r})")
    assert call(page, "ordered", "(() => { try { it.parse('{'); } catch { return true; } })()")


def test_places_are_counted_in_code_points(page: Page) -> None:
    parts = call(page, "marked", "it.cut('👩 in Köln', [{start: 5, end: 9}, {start: 0, end: 1}])")
    assert [part["text"] for part in parts] == ["👩", " in ", "Köln"]
    overlapping = "it.cut('abcd', [{start: 0, end: 3}, {start: 2, end: 4}])"
    assert [part["text"] for part in call(page, "marked", overlapping)] == ["abc", "d"]


def test_a_request_is_quoted_for_its_reader(page: Page) -> None:
    where = "{address: 'http://a', key: '/k', model: 'm', verb: 'predict', version: ''}"
    text = "{kind: 'text', text: \"it's \\n$(rm)\"}"
    command = call(page, "request", f"it.curl({text}, {{}}, {where})")
    assert "--data-raw 'it'\\''s \n$(rm)'" in command
    program = call(page, "request", f"it.python({text}, {{a: [true, null]}}, {where})")
    compile(program, "shown", "exec")
    assert 'options={"a": [True, None]}' in program


def test_options_come_from_their_schema(page: Page) -> None:
    schema = """{properties: {
        k: {type: 'integer', minimum: 1, default: 5},
        t: {type: 'number', minimum: 0, maximum: 1, default: 0.5},
        n: {anyOf: [{type: 'integer'}, {type: 'null'}], default: null},
        c: {anyOf: [{enum: ['a', 'b']}, {type: 'null'}], default: null},
        l: {type: 'array', items: {type: 'string'}, default: []}}}"""
    fields = call(page, "schema", f"it.fields({schema})")
    assert [field["kind"] for field in fields] == ["number", "range", "number", "choice", "list"]
    read = (
        f"it.fields({schema}).map((field, i) => it.read(field, ['7', '0.5', '', 'b', 'x\\ny'][i]))"
    )
    assert call(page, "schema", read) == [7, 0.5, None, "b", ["x", "y"]]


def test_runs_of_classes_become_pixels(page: Page) -> None:
    assert call(page, "views/mask", "it.numbers([0, 7, 0], [2, 1, 2])") == [0, 0, 7, 0, 0]


def test_latency_is_read_off_buckets(page: Page) -> None:
    buckets = "[[0.1, 0], [0.2, 10], [Infinity, 10]]"
    assert call(page, "rates", f"it.quantile({buckets}, 0.5)") == pytest.approx(0.15)
    assert call(page, "rates", "Number.isNaN(it.quantile([[0.1, 0]], 0.5))")
    assert call(page, "rates", "it.quantile([[0.1, 1], [Infinity, 9]], 0.9)") == pytest.approx(0.1)


def test_a_recording_is_a_sound_wav_file(page: Page, tmp_path: Path) -> None:
    made = "it.wav(new Float32Array([0, 1, -1, 2]), 8000).arrayBuffer()"
    read = f"{made}.then((one) => Array.from(new Uint8Array(one)))"
    (tmp_path / "a.wav").write_bytes(bytes(call(page, "wav", read)))
    soundfile = pytest.importorskip("soundfile")
    samples, rate = soundfile.read(tmp_path / "a.wav", dtype="int16")
    assert (rate, samples.tolist()) == (8000, [0, 32767, -32767, 32767])
