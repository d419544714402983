"""The page in a real browser, before a real server: every task, as people try it."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from handlers import tasks
from marsmith.client.clients import Client
from marsmith.serving import server
from tests.support.chromium import barriers, chromium, opened
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

# Where an answer is to be seen, of tasks that have a look of their own.
LOOKS = {
    "image_classification": ".bars .fill",
    "semantic_segmentation": ".over canvas",
    "object_detection": ".over svg",
    "tabular": ".bars, .lead",
    "speech_recognition": ".sound svg path",
    "text_generation": ".written",
    "image_embedding": "canvas.strip",
    "reranking": ".ranked li",
    "recommendation": "tbody tr",
    "speech_synthesis": "audio",
}
SENDS = ".go"
ANSWERED = "article fieldset"


@pytest.fixture(scope="module")
def served(
    new_archives: dict[str, Path], digits_archive: Path, server_state: Path
) -> Iterator[server.Server]:
    """One server of all tasks, and of one of them twice."""
    archives = [*new_archives.values(), digits_archive]
    with server.serve(archives, port=0, timeout_s=900.0) as found:
        yield found


@pytest.fixture(scope="module")
def address(served: server.Server) -> Iterator[str]:
    """Where `marsmith ui` serves the page; Ctrl-C ends it, without a word."""
    command = [sys.executable, "-m", "marsmith.cli", "ui", "--no-browser", "--port", "0"]
    command += ["--server", str(served.port)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            yield process.stdout.readline().split()[-1]
        finally:
            process.send_signal(2)
            _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def client(served: server.Server) -> Iterator[Client]:
    with served.client(timeout_s=120.0) as found:
        yield found


def example(client: Client, model: str) -> tuple[str, bytes, Any]:
    """A model's own example: its media type, its bytes, and its instance where that is JSON."""
    told: Any = client.describe(model)["customizedMetadata"]
    kind, body = told["example"]["content_type"], base64.b64decode(told["example"]["body_base64"])
    whole = json.loads(body) if kind == "application/json" else body.decode("utf-8", "replace")
    return kind, body, whole.get("data", whole) if isinstance(whole, dict) else whole


def ask(page: Page) -> Any:
    """Send what is in the form, and return the answer as the page shows it in JSON."""
    page.click(SENDS)
    page.wait_for_selector(f"{ANSWERED}, article [role=alert]")
    assert page.locator("[role=alert]:not(:empty)").all_inner_texts() == []
    return shown(page)


def shown(page: Page) -> Any:
    """The answer in JSON; the page is left with the answer as people look at it."""
    choices = page.locator(ANSWERED).last
    choices.get_by_text("JSON").click()
    text = page.locator("article pre").last.inner_text()
    choices.get_by_text("Answer").click()
    return json.loads(text) if "more\n" not in text else text


@pytest.mark.parametrize("task", tasks.known())
def test_every_task_is_tried_with_its_example(
    browser: Browser, address: str, client: Client, task: str
) -> None:
    model = f"new_{task}"
    kind, body, instance = example(client, model)
    sent: Any = {"data": instance} if kind == "application/json" else body
    if isinstance(instance, dict) and not {"history"} & set(instance):
        sent = instance
    expected = client.predict(model, sent, content_type=kind, accept="application/json")
    with opened(browser, f"{address}#/{model}") as page:
        if page.get_by_label("word by word").count():
            page.get_by_label("word by word").uncheck()
        answer = ask(page)
        assert answer == expected or isinstance(answer, str)
        if task in LOOKS:
            page.wait_for_selector(f"article {LOOKS[task]}".replace(", ", ", article "))
        page.get_by_text("The same request from elsewhere").click()
        assert barriers(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("task", ["image_classification", "tabular", "text_generation"])
def test_a_narrow_page_in_the_dark_is_whole(browser: Browser, address: str, task: str) -> None:
    with opened(browser, f"{address}#/new_{task}", narrow=True, dark=True) as page:
        ask(page)
        assert barriers(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_an_explanation_lies_over_the_picture(browser: Browser, address: str) -> None:
    with opened(browser, f"{address}#/new_image_classification") as page:
        page.get_by_text("Explain", exact=True).click()
        assert set(ask(page)) == {"label", "heat_map", "box"}
        picture, heat = (page.locator(f"article .over {each}") for each in ("img", "canvas"))
        assert picture.bounding_box() == heat.bounding_box()


def test_text_is_shown_as_it_is_written_and_can_be_stopped(browser: Browser, address: str) -> None:
    with opened(browser, f"{address}#/new_text_generation") as page:
        page.get_by_text("Options").click()
        page.get_by_label("max new tokens").fill("12")
        streamed = ask(page)
        assert streamed["text"] in page.locator(".written").inner_text()
        assert streamed["tokens"] <= 12


def test_options_travel_when_they_were_changed(browser: Browser, address: str) -> None:
    with opened(browser, f"{address}#/new_image_classification") as page:
        page.get_by_label("top k").fill("1")
        assert len(ask(page)) == 1
        page.get_by_label("top k").fill("0")
        page.get_by_text("Options").click()  # what is wrong is shown, wherever it is
        page.click(SENDS)
        page.locator("input:invalid").wait_for()


def test_a_refusal_says_what_to_do(browser: Browser, address: str) -> None:
    with opened(browser, f"{address}#/new_image_classification", refused="4") as page:
        page.get_by_text("JSON", exact=True).click()
        page.get_by_label("The body of the request").fill('{"data": "no picture"}')
        page.click(SENDS)
        page.wait_for_selector("article [role=alert]")
        assert "encode the file's bytes" in page.locator("article [role=alert]").inner_text()
        page.get_by_label("The body of the request").fill("{")
        page.click(SENDS)
        page.get_by_text("this is not JSON").wait_for()


def test_the_same_request_works_from_a_terminal_and_from_python(
    browser: Browser, address: str, client: Client, tmp_path: Path
) -> None:
    _, body, _ = example(client, "new_image_classification")
    (tmp_path / "example.png").write_bytes(body)
    run: dict[str, Any] = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 120}
    run["env"] = {**os.environ, "PYTHONPATH": str(ROOT)}
    with opened(browser, f"{address}#/new_image_classification") as page:
        page.get_by_label("top k").fill("1")
        answer = ask(page)
        page.get_by_text("The same request from elsewhere").click()
        command = page.locator(".request pre").inner_text()
        done = subprocess.run(["bash", "-c", f"{command} --silent"], check=True, **run)
        assert json.loads(done.stdout) == answer
        page.get_by_text("Python", exact=True).click()
        program = page.locator(".request pre").inner_text()
        done = subprocess.run([sys.executable, "-c", program], check=True, **run)
        assert done.stdout.strip() == str(answer)


def test_two_models_are_asked_the_same_side_by_side(
    browser: Browser, address: str, client: Client
) -> None:
    _, body, _ = example(client, "digits")
    with opened(browser, f"{address}#/digits") as page:
        page.get_by_label("Compare with").select_option("new_image_classification")
        page.click(SENDS)
        page.locator(ANSWERED).nth(1).wait_for()
        assert shown(page) == client.predict("new_image_classification", body)
        left, right = (page.locator("article").nth(place).bounding_box() for place in (0, 1))
        assert left
        assert right
        assert left["y"] == right["y"]
        assert barriers(page) == []


def test_a_picture_is_dropped_and_pasted(browser: Browser, address: str) -> None:
    put = """([kind, name]) => {
        const canvas = Object.assign(document.createElement('canvas'), {width: 9, height: 7});
        return new Promise((done) => canvas.toBlob((blob) => {
            const data = new DataTransfer();
            data.items.add(new File([blob], name, {type: 'image/png'}));
            const [type, key] = {drop: [DragEvent, 'dataTransfer'],
                                 paste: [ClipboardEvent, 'clipboardData']}[kind];
            document.querySelector('.drop').dispatchEvent(
                new type(kind, {bubbles: true, cancelable: true, [key]: data}));
            done();
        }));
    }"""
    with opened(browser, f"{address}#/new_image_classification") as page:
        page.wait_for_selector(".drop")
        for kind in ("drop", "paste"):
            page.evaluate(put, [kind, f"{kind}.png"])
            page.wait_for_selector(f"img[alt='The picture {kind}.png']")
            page.get_by_text("9 × 7 pixels").wait_for()
        assert ask(page)


def test_sound_is_recorded_as_models_read_it(browser: Browser, address: str) -> None:
    with opened(browser, f"{address}#/new_audio_classification") as page:
        page.get_by_role("button", name="Record").click()
        page.get_by_text("Recording …").wait_for()
        page.wait_for_timeout(1200)
        page.get_by_role("button", name="Stop", exact=True).first.click()
        page.get_by_text("recording.wav").wait_for()
        length = """(sound) => new Promise((done) => {
            sound.onloadedmetadata = () => done(sound.duration);
            if (sound.readyState) done(sound.duration);
        })"""
        played = page.get_by_label("The recording recording.wav").evaluate(length)
        assert ask(page)["seconds"] == pytest.approx(played, abs=0.01)  # all that is heard is sent


def test_everything_is_reached_with_the_keyboard(browser: Browser, address: str) -> None:
    with opened(browser, f"{address}#/new_text_classification") as page:
        page.wait_for_selector(SENDS)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the model"
        page.get_by_label("text", exact=True).focus()
        page.keyboard.press("Control+Enter")
        page.wait_for_selector(ANSWERED)
        page.locator(f"{ANSWERED} input").first.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_selector("article pre")
        assert page.evaluate("document.activeElement.value") == "json"


def test_the_figures_follow_what_is_asked(browser: Browser, address: str) -> None:
    with opened(browser, f"{address}#/new_tabular") as page:
        page.wait_for_selector(".live:not([hidden])")
        ask(page)
        for place in (1, 2):
            page.locator(".chart dd").nth(place).filter(
                has_text=re.compile("[0-9] m?s$")
            ).wait_for()
        assert page.locator(".chart dd").last.inner_text() == "1"


def test_an_operation_is_tried_with_its_form(
    browser: Browser, address: str, client: Client, tmp_path: Path
) -> None:
    file = tmp_path / "picture.png"
    kind, body, _ = example(client, "new_image_classification")
    file.write_bytes(body)
    expected = client.predict("new_image_classification", body, content_type=kind)
    with opened(browser, f"{address}docs") as page:
        form = page.locator("#operations-new_image_classification-predict_new_image_classification")
        form.locator(".opblock-summary-control").click()
        form.get_by_role("button", name="Try it out").click()
        form.locator("select").first.select_option("multipart/form-data")
        form.locator("input[type=file]").set_input_files(file)
        form.get_by_role("button", name="Execute").click()
        answer = form.locator(".live-responses-table .response-col_description pre").first
        assert set(json.loads(answer.inner_text())) == set(expected)
