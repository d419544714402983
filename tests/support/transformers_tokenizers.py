"""Small tokenizers, saved by transformers as it saves them beside a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

SIZES: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16}
WORDS = ["the", "cat", "a", "dog", "##s", "gr", "##o", "##te"]


def write_bert_tokenizer(folder: Path) -> None:
    from transformers import BertTokenizer

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    tokenizer = Tokenizer(
        models.WordPiece({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]")  # noqa: S106
    )
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    BertTokenizer(tokenizer_object=tokenizer).save_pretrained(folder)


def write_roberta_tokenizer(folder: Path) -> None:
    from transformers import RobertaTokenizer

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {word: i for i, word in enumerate([*special, *letters, "at", "the"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("a", "t")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    RobertaTokenizer(tokenizer_object=tokenizer).save_pretrained(folder)


def write_label_tokenizer(folder: Path, *inputs: str) -> None:
    """Words between <s> and </s>, which pads, too: as CLIP's and SigLIP's are asked for labels.

    Args:
        folder: of the model.
        inputs: what of the tokens the model is given.
    """
    from transformers import PreTrainedTokenizerFast

    words = ["this", "is", "a", "photo", "of", ".", "cat", "dog", "small", "bird", "crane"]
    vocabulary = {word: i for i, word in enumerate(["<s>", "</s>", "<unk>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))  # noqa: S106
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("</s>", 1), ("<s>", 0))
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_input_names=list(inputs), **special
    ).save_pretrained(folder)
