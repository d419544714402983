from __future__ import annotations

import sys
from pathlib import Path

import pytest

from marsmith.cli import new
from marsmith.errors import UnsupportedError
from marsmith.extras import need, need_for


def test_what_is_not_installed_is_named_with_the_extra_that_brings_it() -> None:
    need("onnx", "torch", "json")
    with pytest.raises(UnsupportedError, match="no_such_engine is not installed") as caught:
        need("onnx", "torch", "no_such_engine")
    assert caught.value.hint == "pip install 'marsmith[onnx]'"


def hide(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    for each in modules:
        monkeypatch.setitem(sys.modules, each, None)


def test_what_a_task_needs_is_named_with_all_extras_that_bring_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hide(monkeypatch, "tokenizers", "soxr", "faiss", "captum")
    with pytest.raises(UnsupportedError) as caught:
        need_for("speech_to_text")
    assert str(caught.value) == "tokenizers, soxr are not installed, which speech_to_text needs"
    assert caught.value.hint == "pip install 'marsmith[speech,text]'"
    need_for("recommendation")  # an index of faiss, and captum's explanations, few ask for


def test_a_task_of_ones_own_needs_what_it_is_made_of_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hide(monkeypatch, "regex")
    for task in ("text_classification", "token_classification"):
        new.write(f"own_{task}", task, tmp_path, custom=True)
        monkeypatch.syspath_prepend(str(tmp_path / f"own_{task}"))
    need_for("own_text_classification_handler:OwnTextClassificationHandler")
    with pytest.raises(UnsupportedError, match="regex is not installed"):
        need_for("own_token_classification_handler:OwnTokenClassificationHandler")
