"""From text to tokens, and from tokens to a padded batch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers
from tokenizers.processors import TemplateProcessing

from handlers import batching, task
from handlers.errors import BadRequest, LoadError
from handlers.text import cutting, text, tokens
from tests.support.tokenizer_files import write_tokenizer


def encoder(folder: Path, **settings: Any) -> tokens.Encoder:
    path = folder / "tokenizer.json"
    if not path.exists():
        write_tokenizer(path)
    return tokens.Encoder(path, text.TextConfig(**settings))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> tokens.Encoder:
    return encoder(tmp_path_factory.mktemp("words"), max_tokens=8)


@given(st.text() | st.binary())
def test_whatever_comes_is_encoded_or_refused(words: tokens.Encoder, instance: str | bytes) -> None:
    try:
        sample = words.encode(text.read(instance))
    except BadRequest:
        return
    assert 2 <= len(sample.tensors["input_ids"]) <= 8
    assert sample.tensors["input_ids"].dtype == torch.int64


def test_what_is_too_long_is_cut_or_refused(words: tokens.Encoder) -> None:
    assert not words.encode("one two three four five six").tokens.truncated
    cut = words.encode("one two three four five six seven")
    assert (cut.tokens.truncated, len(cut.tensors["input_ids"])) == (True, 8)
    assert cut.tensors["input_ids"][-1] == words.tokenizer.token_to_id("[SEP]")
    with pytest.raises(BadRequest, match="more than 8 tokens") as caught:
        words.encode("one two three four five six seven", truncate=False)
    assert caught.value.status == 422


def pairs(path: Path, *, max_tokens: int) -> tokens.Encoder:
    """An encoder whose pairs have three special tokens and types, as BERT's have."""
    write_tokenizer(path)
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    tokenizer.save(str(path))
    return tokens.Encoder(path, text.TextConfig(max_tokens=max_tokens, token_types=True))


@given(
    st.integers(0, 30),
    st.none() | st.integers(0, 30),
    st.integers(5, 24),
    st.sampled_from(["longest_first", "only_first", "only_second"]),
)
@settings(max_examples=200)
def test_it_cuts_as_the_tokenizers_library_does(
    tmp_path_factory: pytest.TempPathFactory,
    first: int,
    second: int | None,
    room: int,
    truncation: cutting.Truncation,
) -> None:
    encoder = pairs(tmp_path_factory.getbasetemp() / "pairs.json", max_tokens=room)
    texts = "one two three " * first, None if second is None else "six five four " * second
    if second is None:
        truncation = "longest_first"
    oracle = Tokenizer.from_str(encoder.tokenizer.to_str())
    oracle.enable_truncation(room, strategy=truncation)
    try:
        wanted = oracle.encode(*texts)
    except Exception:  # it has no other
        wanted = None
    try:
        sample = encoder.encode(texts[0], pair=texts[1], truncation=truncation)
    except BadRequest:
        assert wanted is None or not {0, 1} <= set(wanted.sequence_ids)
        return
    assert wanted
    assert sample.tensors["input_ids"].tolist() == wanted.ids
    assert sample.tensors["attention_mask"].tolist() == wanted.attention_mask
    assert sample.tensors["token_type_ids"].tolist() == wanted.type_ids
    assert sample.tokens == tokens.Tokens(
        bool(wanted.overflowing), wanted.offsets, wanted.sequence_ids
    )


@given(st.integers(0, 30), st.integers(5, 24), st.integers(0, 4), st.booleans())
def test_windows_are_those_of_the_tokenizers_library(
    tmp_path_factory: pytest.TempPathFactory, words: int, room: int, overlap: int, paired: bool
) -> None:
    encoder = pairs(tmp_path_factory.getbasetemp() / "pairs.json", max_tokens=room)
    long = "one two three " * words
    texts = ("five", long) if paired else (long, None)
    oracle = Tokenizer.from_str(encoder.tokenizer.to_str())
    strategy = "only_second" if paired else "only_first"
    if overlap >= room - (4 if paired else 2):
        return
    oracle.enable_truncation(room, stride=overlap, strategy=strategy)
    first = oracle.encode(*texts)
    wanted = [first, *first.overflowing]
    samples = encoder.windows(texts[0], pair=texts[1], overlap=overlap, limit=100)
    assert [each.tensors["input_ids"].tolist() for each in samples] == [e.ids for e in wanted]
    assert [each.tokens.offsets for each in samples] == [e.offsets for e in wanted]
    assert [each.tokens.sequences for each in samples] == [e.sequence_ids for e in wanted]
    assert not any(each.tokens.truncated for each in samples)


def test_windows_have_their_most(tmp_path: Path) -> None:
    encoder = pairs(tmp_path / "tokenizer.json", max_tokens=8)
    whole = encoder.windows("one " * 14, overlap=2, limit=3)
    assert [each.tokens.truncated for each in whole] == [False] * 3
    cut = encoder.windows("one " * 15, overlap=2, limit=3)
    assert [each.tokens.truncated for each in cut] == [True] * 3
    assert [each.tokens.offsets for each in cut] == [each.tokens.offsets for each in whole]
    with pytest.raises(BadRequest, match="4 windows of 8 tokens; at most 3") as caught:
        encoder.windows("one " * 15, truncate=False, overlap=2, limit=3)
    assert caught.value.status == 413
    with pytest.raises(BadRequest, match="no room for both"):
        encoder.windows("one " * 5, pair="one two", overlap=0, limit=3)


def test_two_long_texts_take_no_more_memory_than_one(tmp_path: Path) -> None:
    long = "one two three " * 10_000
    sample = pairs(tmp_path / "tokenizer.json", max_tokens=16).encode(long, pair=long)
    assert sample.tokens.sequences.count(0) == 6
    assert sample.tokens.sequences.count(1) == 7


@pytest.mark.parametrize("empty", ["", "  \n"])
def test_a_text_of_nothing_has_its_special_tokens(words: tokens.Encoder, empty: str) -> None:
    assert len(words.encode(empty).tensors["input_ids"]) == 2


def test_without_special_tokens_nothing_is_refused(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "tokenizer.json", special=False)
    with pytest.raises(BadRequest, match="no tokens"):
        encoder(tmp_path).encode(" ")


def test_few_lengths_reach_the_engine_and_none_above_the_models(tmp_path: Path) -> None:
    typed = encoder(tmp_path, max_tokens=13)
    lengths = {
        typed.pad([typed.encode("one " * n).tensors])["input_ids"].shape[1] for n in range(12)
    }
    assert lengths == {8, 13}
    with_longer_rows = typed.pad([{"input_ids": torch.zeros(1, 16)}])
    assert with_longer_rows["input_ids"].shape == (1, 16)


def test_a_batch_is_padded_to_its_longest_and_masked(words: tokens.Encoder) -> None:
    batch = words.pad([words.encode(each).tensors for each in ("one", "one two three", "")])
    assert list(batch) == ["input_ids", "attention_mask"]
    assert batch["input_ids"].shape == (3, 8)
    assert batch["attention_mask"].sum(dim=1).tolist() == [3, 5, 2]
    padding = batch["input_ids"][batch["attention_mask"] == 0]
    assert set(padding.tolist()) == {words.tokenizer.token_to_id("[PAD]")} != {0}


def test_token_types_come_where_the_model_takes_them(tmp_path: Path) -> None:
    typed = encoder(tmp_path, token_types=True)
    batch = typed.pad([typed.encode(each).tensors for each in ("one", "one two")])
    assert list(batch) == list(typed.varying_axes)
    assert batch["token_type_ids"].tolist() == [[0] * 8] * 2


@given(st.lists(st.integers(1, 300), min_size=1))
def test_little_is_padded(lengths: list[int]) -> None:
    for batch in batching.plan(lengths, task.similar_length, len(lengths)):
        group = [lengths[place] for place in batch]
        assert max(group) <= max(task.SHORT, 2 * min(group))


def test_what_grows_when_it_is_normalised_counts_so(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    made = encoder(tmp_path, max_characters=1000)
    made.encode("a" * 1000)
    with pytest.raises(BadRequest, match="1080 characters when normalised; at most 1000") as caught:
        made.encode("\ufdfa" * 60)
    assert caught.value.status == 413


def test_a_tokenizer_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"no tokenizer missing\.json in this archive"):
        tokens.Encoder(tmp_path / "missing.json", text.TextConfig())
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
        tokens.Encoder(tmp_path / "tokenizer.json", text.TextConfig())
