"""Long texts in windows: nothing is lost, nothing counts twice, nothing is too much at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from handlers.errors import BadRequest, LoadError, ModelError
from handlers.text import windows
from handlers.text.tokens import Encoder
from tests.support.tokenizer_files import WORDS, write_tokenizer


def reader(folder: Path, *, paired: bool = False, **section: Any) -> windows.Reader:
    file = folder / "tokenizer.json"
    if not file.exists():
        write_tokenizer(file)
    config = windows.WindowConfig(**section)
    return windows.Reader(Encoder(file, config), config, paired=paired)


@given(st.integers(0, 40), st.integers(5, 16), st.integers(0, 9))
def test_every_token_is_taken_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, words: int, size: int, overlap: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    if overlap >= size - 2:
        with pytest.raises(LoadError, match="no room for more than an overlap"):
            reader(folder, max_tokens=size, overlap=overlap)
        return
    source = " ".join(["one", "two", "three"][n % 3] for n in range(words))
    tensors, found = reader(folder, max_tokens=size, overlap=overlap, max_windows=99).read(source)
    assert len(tensors["input_ids"]) == len(found.tokens)
    assert tensors["input_ids"].shape[1] <= size
    rows, columns = windows.once(found)
    places = [found.tokens[r].offsets[c] for r, c in zip(rows, columns, strict=True)]
    assert [source[slice(*place)] for place in places] == source.split()
    ids = tensors["input_ids"][rows, columns].tolist()
    assert [WORDS[number] for number in ids] == source.split()
    assert not found.truncated


def test_a_token_of_two_windows_is_taken_farther_from_the_edge(tmp_path: Path) -> None:
    _, found = reader(tmp_path, max_tokens=10, overlap=4).read("one " * 12)
    rows, columns = windows.once(found)
    assert rows == [0] * 6 + [1] * 6  # 4 of 8 are shared: two for each
    assert columns == [1, 2, 3, 4, 5, 6, 3, 4, 5, 6, 7, 8]


def test_what_lies_behind_the_last_window_is_cut_or_refused(tmp_path: Path) -> None:
    of_two = reader(tmp_path, max_tokens=8, max_windows=2)
    assert of_two.overlap == 2
    _, found = of_two.read("one " * 99)
    assert found.truncated
    assert len(found.tokens) == 2
    assert not of_two.read("one " * 10)[1].truncated
    with pytest.raises(BadRequest, match="at most 2"):
        of_two.read("one " * 99, truncate=False)


def test_of_two_texts_the_second_is_read_in_windows(tmp_path: Path) -> None:
    pairs = reader(tmp_path, paired=True, max_tokens=6, overlap=1)
    _, found = pairs.read("one two", "three four five six three four")
    assert found.source.startswith("three")
    first, last = (tokens.sequences for tokens in found.tokens)
    assert (first, last) == ([0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1])
    with pytest.raises(BadRequest, match="no room for both"):
        pairs.read("one " * 5, "two " * 9)


def test_windows_of_several_share_a_batch_and_come_back(tmp_path: Path) -> None:
    of_eight = reader(tmp_path, max_tokens=8)
    samples = [of_eight.read("one " * count) for count in (3, 30, 0)]
    texts = [tensors for tensors, _ in samples]
    batch = of_eight.encoder.pad(texts)
    counts = [len(found.tokens) for _, found in samples]
    assert counts[0] == counts[2] == 1 < counts[1]
    assert all(tensor.shape == (sum(counts), 8) for tensor in batch.values())
    assert batch["attention_mask"].sum(dim=1).tolist()[0] == 5
    assert set(batch["input_ids"][0, 5:].tolist()) == {WORDS.index("[PAD]")}
    back = windows.split(batch["input_ids"], texts, "(N, T)")
    for tensors, part in zip(texts, back, strict=True):
        ids = tensors["input_ids"]
        assert torch.equal(part[:, : ids.shape[1]], ids)


@pytest.mark.parametrize("shape", [(2, 8), (1, 6), (1, 8, 3)])
def test_a_model_that_answers_something_else_is_told(tmp_path: Path, shape: Any) -> None:
    tensors, _ = reader(tmp_path).read("one two three")
    with pytest.raises(ModelError, match=r"must answer \(N, T\) of \[1, 8\], not"):
        windows.split(torch.zeros(shape), [tensors], "(N, T)")
