"""Where words begin, by what the tokenizer says and by blanks."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from handlers.text.words import Words

PIECES = {
    word: number for number, word in enumerate(["?", "cat", "##s", "dog", ",", "e", "a", "t"])
}


def by_prefix() -> Any:
    tokenizer = Tokenizer(models.WordPiece(PIECES, unk_token="?"))  # noqa: S106 - no secret
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def by_blanks() -> Any:
    tokenizer = Tokenizer(models.BPE({**PIECES, "at": 8}, [("a", "t")], unk_token="?"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


@pytest.mark.parametrize(
    ("tokenizer", "text", "begin"),
    [
        (by_prefix(), "cats,dog", [1, 0, 1, 1]),
        (by_prefix(), "dogs bird cat", [1, 0, 1, 1]),
        (by_prefix(), "e\u0301 cat", [1, 1]),  # the accent is stripped
        (by_blanks(), "eat at,\tea", [1, 0, 1, 0, 1, 0]),
        (by_blanks(), "e x", [1, 1]),
        (by_blanks(), "exe", [1, 1, 0]),  # what is unknown is a word, as in transformers
        (by_blanks(), "", []),
    ],
)
def test_words_begin(tokenizer: Any, text: str, begin: list[int]) -> None:
    found = tokenizer.encode(text)
    assert Words(tokenizer).begin(found.ids, found.offsets, text) == [bool(each) for each in begin]
