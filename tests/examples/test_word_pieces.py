"""A tokenizer that is learnt anew must be the one that the weights were trained beside."""

from __future__ import annotations

import os
import subprocess
import sys

from tokenizers import pre_tokenizers

from examples import word_pieces
from tests.support.paths import ROOT

LEARN = """
from tokenizers import pre_tokenizers
from examples import word_pieces

texts = [
    f"{word}{ending} größe 模型 {number}"
    for number, word in enumerate(dir(str))
    for ending in "abc"
]
learnt = word_pieces.learn(texts, 301, ("[PAD]", "[UNK]"), pre_tokenizers.Whitespace())
print(learnt.to_str())
"""


def test_it_is_the_same_in_every_process() -> None:
    def learnt(hash_seed: str) -> str:
        done = subprocess.run(
            [sys.executable, "-X", "utf8", "-c", LEARN],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
        return done.stdout

    assert learnt("1") == learnt("2") != ""


def test_words_become_pieces() -> None:
    tokenizer = word_pieces.learn(
        ["abc abc abcd"], 99, ("[PAD]", "[UNK]"), pre_tokenizers.Whitespace()
    )
    assert tokenizer.encode("abcd abc bx").tokens == ["abcd", "abc", "[UNK]"]
    assert tokenizer.encode("bcd").tokens[1].startswith("##")
    assert tokenizer.token_to_id("[PAD]") == 0
    assert tokenizer.get_vocab_size() <= 99
