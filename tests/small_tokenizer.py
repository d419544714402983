"""A tokenizer small enough to read: words, numbered; what is unknown is [UNK]."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

UNKNOWN, PAD = "[UNK]", "[PAD]"
WORDS = [UNKNOWN, "[CLS]", "[SEP]", PAD, "one", "two", "three", "four", "five", "six"]


def write_tokenizer(path: Path, *, special: bool = True) -> None:
    """Write a `tokenizer.json` that, as many do, says to pad and cut to a length of its own.

    Args:
        path: where to.
        special: put [CLS] before a text and [SEP] after it.
    """
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = Whitespace()
    if special:
        tokenizer.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
    tokenizer.enable_padding(length=5, pad_id=WORDS.index(PAD), pad_token=PAD)
    tokenizer.enable_truncation(4)
    tokenizer.save(str(path))
