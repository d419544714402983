"""Folders of tiny cross-encoders, as sentence-transformers and transformers write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.support.transformers_tokenizers import (
    SIZES,
    write_bert_tokenizer,
    write_roberta_tokenizer,
)

LONGEST = 40  # tokens
IDENTITY = "torch.nn.modules.linear.Identity"


def say(folder: Path, **settings: Any) -> Path:
    """Write settings into the folder's config.json."""
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    return folder


def as_the_library_saves(folder: Path, out: Path, activation: Any, **settings: Any) -> Path:
    """Let sentence-transformers read a folder of transformers' and save it anew."""
    from sentence_transformers import CrossEncoder

    read: dict[str, Any] = {"device": "cpu", "local_files_only": True}
    CrossEncoder(str(folder), activation_fn=activation, **read, **settings).save(str(out))
    return out


def say_of_encoder(folder: Path, **settings: Any) -> None:
    """Write settings into the folder's sentence_bert_config.json."""
    file = folder / "sentence_bert_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


def saved(folder: Path, make: Callable[..., None], **settings: Any) -> Path:
    """A folder with random weights that are far from each other, and their tokenizer."""
    torch.manual_seed(0)
    make(folder, initializer_range=0.7, **{"num_labels": 1, **settings})
    return folder


def bert(folder: Path, **settings: Any) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=13, max_position_embeddings=LONGEST, intermediate_size=16, **SIZES, **settings
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    write_bert_tokenizer(folder)


def roberta(folder: Path, **settings: Any) -> None:
    from transformers import RobertaConfig, RobertaForSequenceClassification

    config = RobertaConfig(
        vocab_size=263, max_position_embeddings=LONGEST + 2, type_vocab_size=1,
        intermediate_size=16, **SIZES, **settings,
    )  # fmt: skip
    RobertaForSequenceClassification(config).save_pretrained(folder)
    write_roberta_tokenizer(folder)


def xlm_roberta(folder: Path, **settings: Any) -> None:
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    config = XLMRobertaConfig(
        vocab_size=263, max_position_embeddings=LONGEST + 2, type_vocab_size=1,
        intermediate_size=16, **SIZES, **settings,
    )  # fmt: skip
    XLMRobertaForSequenceClassification(config).save_pretrained(folder)
    write_roberta_tokenizer(folder)


def modernbert(folder: Path, **settings: Any) -> None:
    """Some of its layers see only what is near."""
    from transformers import ModernBertConfig, ModernBertForSequenceClassification

    config = ModernBertConfig(
        vocab_size=263, max_position_embeddings=LONGEST, intermediate_size=16, local_attention=8,
        pad_token_id=1, bos_token_id=0, eos_token_id=2, cls_token_id=0, sep_token_id=2,
        **SIZES, **settings,
    )  # fmt: skip
    ModernBertForSequenceClassification(config).save_pretrained(folder)
    write_roberta_tokenizer(folder)
