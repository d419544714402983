"""Folders of tiny Whispers with random weights and a tokenizer, which hear 1 s at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

CODES = ("en", "de", "fr", "ja")
SPECIAL = (
    "<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in CODES), "<|translate|>",
    "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
)  # fmt: skip
SECONDS, POSITIONS = 1, 50
STAMPS = [f"<|{0.02 * place:.2f}|>" for place in range(POSITIONS + 1)]
SIZES: dict[str, Any] = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 2,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 40,
    "num_mel_bins": 20, "max_source_positions": POSITIONS, "max_target_positions": 48,
}  # fmt: skip


def letters() -> list[str]:
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())


def write(folder: Path, seed: int = 5, *, multilingual: bool = True, **generation: Any) -> None:
    """Save a model, with settings in its generation_config.json."""
    import transformers
    from tokenizers import AddedToken

    names = letters()
    tokenizer = transformers.WhisperTokenizer(
        vocab={name: number for number, name in enumerate(names)}, merges=[]
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    tokenizer.add_tokens([AddedToken(each, special=False) for each in STAMPS])
    numbers: dict[str, Any] = {
        name: tokenizer.convert_tokens_to_ids(name) for name in [*SPECIAL, *STAMPS]
    }
    end, start = numbers["<|endoftext|>"], numbers["<|startoftranscript|>"]
    torch.manual_seed(seed)
    config = transformers.WhisperConfig(
        vocab_size=len(tokenizer), pad_token_id=end, bos_token_id=end, eos_token_id=end,
        decoder_start_token_id=start, init_std=0.35, suppress_tokens=None,
        begin_suppress_tokens=None, **SIZES,
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config).eval()
    said: dict[str, Any] = {
        "decoder_start_token_id": start, "eos_token_id": end, "pad_token_id": end,
        "bos_token_id": end,
        "no_timestamps_token_id": numbers["<|notimestamps|>"], "max_length": 48,
        "prev_sot_token_id": numbers["<|startofprev|>"], "is_multilingual": multilingual,
        "max_initial_timestamp_index": 25, "return_timestamps": False,
        "suppress_tokens": [numbers[each] for each in SPECIAL[1:-1]],
        "begin_suppress_tokens": [names.index("a"), end],
    }  # fmt: skip
    if multilingual:
        said["lang_to_id"] = {f"<|{code}|>": numbers[f"<|{code}|>"] for code in CODES}
        said["task_to_id"] = {each: numbers[f"<|{each}|>"] for each in ("transcribe", "translate")}
    model.generation_config = transformers.GenerationConfig(**{**said, **generation})
    model.save_pretrained(folder)
    sound = transformers.WhisperFeatureExtractor(feature_size=20, chunk_length=SECONDS)
    transformers.WhisperProcessor(sound, tokenizer).save_pretrained(folder)
