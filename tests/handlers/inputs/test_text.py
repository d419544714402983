"""From an instance to tokens, and from tokens to a padded batch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from handlers import batching
from handlers.errors import BadRequest, LoadError
from handlers.inputs import text
from tests.small_tokenizer import write_tokenizer

ANY = text.Options()


def encoder(folder: Path, **settings: Any) -> text.Encoder:
    path = folder / "tokenizer.json"
    if not path.exists():
        write_tokenizer(path)
    return text.Encoder(path, text.Config(**settings))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> text.Encoder:
    return encoder(tmp_path_factory.mktemp("words"), max_tokens=8)


def test_bytes_and_strings_are_the_same_text() -> None:
    assert text.read("größe ☃".encode()) == text.read("größe ☃") == "größe ☃"


@pytest.mark.parametrize(
    ("instance", "status", "words"),
    [
        (b"gr\xf6\xdfe", 400, "not UTF-8: byte 2"),
        ("a\ud800b", 422, "lone surrogate in it, at character 1"),
        ("a\ud800b".encode("utf-8", "surrogatepass"), 400, "not UTF-8"),
        (7, 400, "must be a string, not an integer"),
        (None, 400, "not null"),
        (["a"], 400, "not a list"),
        ({"text": "a"}, 400, "not an object"),
    ],
    ids=range(7),
)
def test_what_is_no_text_is_told_why(instance: Any, status: int, words: str) -> None:
    with pytest.raises(BadRequest, match=words) as caught:
        text.read(instance)
    assert caught.value.status == status


@given(st.text() | st.binary())
def test_whatever_comes_is_encoded_or_refused(words: text.Encoder, instance: str | bytes) -> None:
    try:
        sample = words.encode(text.read(instance), ANY)
    except BadRequest:
        return
    assert 2 <= text.length(sample) <= 8
    assert sample.tensors["input_ids"].dtype == torch.int64


def test_what_is_too_long_is_cut_or_refused(words: text.Encoder) -> None:
    assert not words.encode("one two three four five six", ANY).meta
    cut = words.encode("one two three four five six seven", ANY)
    assert (cut.meta, text.length(cut)) == (True, 8)
    assert cut.tensors["input_ids"][-1] == words.tokenizer.token_to_id("[SEP]")
    with pytest.raises(BadRequest, match="more than 8 tokens") as caught:
        words.encode("one two three four five six seven", text.Options(truncate=False))
    assert caught.value.status == 422


@pytest.mark.parametrize("empty", ["", "  \n"])
def test_a_text_of_nothing_has_its_special_tokens(words: text.Encoder, empty: str) -> None:
    assert text.length(words.encode(empty, ANY)) == 2


def test_without_special_tokens_nothing_is_refused(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "tokenizer.json", special=False)
    with pytest.raises(BadRequest, match="no tokens"):
        encoder(tmp_path).encode(" ", ANY)


def test_a_batch_is_padded_to_its_longest_and_masked(words: text.Encoder) -> None:
    batch = words.pad([words.encode(each, ANY) for each in ("one", "one two three", "")])
    assert list(batch) == ["input_ids", "attention_mask"]
    assert batch["input_ids"].shape == (3, 5)
    assert batch["attention_mask"].sum(dim=1).tolist() == [3, 5, 2]
    padding = batch["input_ids"][batch["attention_mask"] == 0]
    assert set(padding.tolist()) == {words.tokenizer.token_to_id("[PAD]")} != {0}


def test_token_types_come_where_the_model_takes_them(tmp_path: Path) -> None:
    typed = encoder(tmp_path, token_types=True)
    batch = typed.pad([typed.encode(each, ANY) for each in ("one", "one two")])
    assert list(batch) == list(typed.varying_axes)
    assert batch["token_type_ids"].tolist() == [[0] * 4] * 2


@given(st.lists(st.integers(1, 300), min_size=1))
def test_little_is_padded(lengths: list[int]) -> None:
    samples = [text.Sample({"input_ids": torch.zeros(length)}) for length in lengths]
    groups: dict[Any, list[int]] = {}
    for sample in samples:
        length = text.length(sample)
        groups.setdefault(batching.similar_length(length), []).append(length)
    for group in groups.values():
        assert max(group) <= max(batching.SHORT, 2 * min(group))


def test_texts_that_are_too_much_together_are_refused() -> None:
    text.check_together(["ab", "é".encode(), 7], max_characters=3)
    with pytest.raises(BadRequest, match="4 characters together; at most 3") as caught:
        text.check_together(["ab", "cd"], max_characters=3)
    assert caught.value.status == 413


def test_a_tokenizer_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"no tokenizer missing\.json in this archive"):
        text.Encoder(tmp_path / "missing.json", text.Config())
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(LoadError, match=r"tokenizer\.json is not a tokenizer"):
        encoder(tmp_path)
    write_tokenizer(tmp_path / "tokenizer.json")
    with pytest.raises(LoadError, match="more than the 2 special tokens"):
        encoder(tmp_path, max_tokens=2)


def test_without_tokenizers_there_is_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(LoadError, match="pip install tokenizers"):
        text.Encoder(tmp_path / "tokenizer.json", text.Config())
