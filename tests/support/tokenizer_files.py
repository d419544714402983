"""Tokenizers small enough to read: of words, numbered, and of bytes."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, processors

UNKNOWN, PAD = "[UNK]", "[PAD]"
WORDS = [UNKNOWN, "[CLS]", "[SEP]", PAD, "one", "two", "three", "four", "five", "six"]


def write_tokenizer(path: Path, *, special: bool = True) -> None:
    """Write one of WORDS that, as many do, says to pad and cut to a length of its own.

    Args:
        path: where to.
        special: put [CLS] before a text and [SEP] after it.
    """
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token=UNKNOWN)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if special:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
    tokenizer.enable_padding(length=5, pad_id=WORDS.index(PAD), pad_token=PAD)
    tokenizer.enable_truncation(4)
    tokenizer.save(str(path))


def write_byte_tokenizer(path: Path) -> int:
    """Bytes, as GPT has them, between <s> and </s>: of a letter there may be several tokens."""
    words = ["<s>", "</s>", "<pad>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    tokenizer.save(str(path))
    return len(words)
