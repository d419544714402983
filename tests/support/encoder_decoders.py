"""Folders of tiny encoder–decoders of transformers', with random weights and a tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

SPECIAL = ("<pad>", "</s>", "<s>", "<unk>", "__fr__", "__de__")
PAD, END, START, _, FRENCH, GERMAN = range(len(SPECIAL))
SIZES: dict[str, Any] = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 2,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 40,
    "max_position_embeddings": 96, "pad_token_id": PAD, "eos_token_id": END, "bos_token_id": START,
    "init_std": 0.35,
}  # fmt: skip


def _byte_tokens() -> Tokenizer:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({word: i for i, word in enumerate([*SPECIAL, *letters])}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", END)]
    )
    made.add_special_tokens(list(SPECIAL))
    return made


def t5() -> Any:
    from transformers import T5Config, T5ForConditionalGeneration

    settings: dict[str, Any] = {
        "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4,
        "relative_attention_num_buckets": 8, "relative_attention_max_distance": 20,
        "pad_token_id": PAD, "eos_token_id": END, "decoder_start_token_id": PAD,
        "initializer_factor": 4.0, "feed_forward_proj": "gated-gelu",
    }  # fmt: skip
    return T5ForConditionalGeneration(T5Config(vocab_size=262, **settings))


def bart() -> Any:
    from transformers import BartConfig, BartForConditionalGeneration

    config = BartConfig(
        vocab_size=262, decoder_start_token_id=END, forced_eos_token_id=END, **SIZES
    )  # fmt: skip
    return BartForConditionalGeneration(config)


def marian() -> Any:
    from transformers import MarianConfig, MarianMTModel

    config = MarianConfig(
        vocab_size=262, decoder_start_token_id=PAD, forced_eos_token_id=END, scale_embedding=True,
        **SIZES,
    )  # fmt: skip
    return MarianMTModel(config)


def m2m100() -> Any:
    from transformers import M2M100Config, M2M100ForConditionalGeneration

    config = M2M100Config(vocab_size=262, decoder_start_token_id=END, **SIZES)
    return M2M100ForConditionalGeneration(config)


KINDS: dict[str, Callable[[], Any]] = {each.__name__: each for each in (t5, bart, marian, m2m100)}


def write(folder: Path, kind: str, **generation: Any) -> None:
    """Save a model of that kind, with settings in its generation_config.json."""
    from transformers import PreTrainedTokenizerFast

    torch.manual_seed(5)
    model = KINDS[kind]().eval()
    model.generation_config.update(**generation)
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=_byte_tokens(), pad_token="<pad>", eos_token="</s>",  # noqa: S106
        model_max_length=SIZES["max_position_embeddings"],
    ).save_pretrained(folder)  # fmt: skip
