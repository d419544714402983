"""A tokenizer that is learnt anew must be the one that the weights were trained beside."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from tokenizers import pre_tokenizers

from examples import word_pieces

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [
    f"{word}{ending} größe 模型 {number}"
    for number, word in enumerate(dir(str))
    for ending in "abc"
]
LEARN = (
    "from tests.examples.test_word_pieces import learnt\n"
    "print(__import__('hashlib').sha256(learnt().to_str().encode()).hexdigest())"
)


def learnt() -> object:
    return word_pieces.learn(TEXTS, 301, ("[PAD]", "[UNK]"), pre_tokenizers.Whitespace())


def test_it_is_the_same_in_every_process() -> None:
    here = hashlib.sha256(learnt().to_str().encode()).hexdigest()  # type: ignore[attr-defined]
    there = subprocess.run(
        [sys.executable, "-c", LEARN], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert there.stdout.strip() == here


def test_words_become_pieces() -> None:
    tokenizer = word_pieces.learn(
        ["abc abc abcd"], 99, ("[PAD]", "[UNK]"), pre_tokenizers.Whitespace()
    )
    assert tokenizer.encode("abcd abc bx").tokens == ["abcd", "abc", "[UNK]"]
    assert tokenizer.encode("bcd").tokens[1].startswith("##")
    assert tokenizer.token_to_id("[PAD]") == 0
    assert tokenizer.get_vocab_size() <= 99
