"""A folder's chat template travels, from wherever the folder has it, and is compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from handlers.generation import chat
from marsmith.errors import BuildError
from marsmith.sources.heads import _chat

MARKS = {"bos_token": "<s>", "eos_token": "</s>"}
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message.role + ': ' + message.content }}\n"
    "{% endfor %}{% if add_generation_prompt %}{{ eos_token }}{% endif %}"
)


def save(folder: Path, template: str | None) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = models.WordLevel({"<s>": 0, "</s>": 1, "a": 2}, "a")
    saved = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), **MARKS)
    saved.chat_template = template
    saved.save_pretrained(folder)


def test_it_writes_what_transformers_writes(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    save(tmp_path, TEMPLATE)
    out = tmp_path / "out"
    out.mkdir()
    settings = _chat.bring(tmp_path, out)
    assert settings["special_tokens"]["bos_token"] == MARKS["bos_token"]
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    expected = theirs.apply_chat_template(_chat.TALK, tokenize=False, add_generation_prompt=True)
    brought = chat.read(out / settings["chat_template"], settings["special_tokens"])
    assert brought.render([dict(each) for each in _chat.TALK]) == expected
    assert expected.startswith("<s>user: ")


def test_a_folder_without_one_has_no_setting(tmp_path: Path) -> None:
    save(tmp_path, None)
    assert _chat.bring(tmp_path, tmp_path) == {}


def test_one_that_fails_here_is_refused(tmp_path: Path) -> None:
    save(tmp_path, "{{ 'ab' * 3 }}")  # transformers takes it; our sandbox multiplies numbers alone
    with pytest.raises(BuildError, match=r"chat template of .* fails"):
        _chat.bring(tmp_path, tmp_path)
