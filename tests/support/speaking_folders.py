"""Tiny folders of transformers' VITS, with random weights and a tokenizer of letters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

LETTERS = "k'z_yd e-taoinshrlcumwfgpbvxjq"
SAID = "a model is only as useful as the people who can ask it something"
SIZES: dict[str, Any] = {
    "vocab_size": len(LETTERS), "hidden_size": 16, "num_hidden_layers": 2, "ffn_dim": 24,
    "num_attention_heads": 2, "flow_size": 12, "spectrogram_bins": 9, "window_size": 4,
    "upsample_initial_channel": 8, "upsample_rates": [4, 2], "upsample_kernel_sizes": [8, 4],
    "resblock_kernel_sizes": [3, 5], "resblock_dilation_sizes": [[1, 3], [1, 2]],
    "depth_separable_num_layers": 2, "duration_predictor_flow_bins": 6,
    "duration_predictor_num_flows": 3, "duration_predictor_filter_channels": 16,
    "prior_encoder_num_flows": 2, "prior_encoder_num_wavenet_layers": 2,
    "posterior_encoder_num_wavenet_layers": 2, "sampling_rate": 2000,
}  # fmt: skip
SPEAKERS: dict[str, Any] = {"num_speakers": 3, "speaker_embedding_size": 5}
KINDS: dict[str, dict[str, Any]] = {
    "stochastic": {},
    "sure": {"use_stochastic_duration_prediction": False},
    "speakers": SPEAKERS,
    "sure speakers": {**SPEAKERS, "use_stochastic_duration_prediction": False},
}


def write(folder: Path, kind: str = "stochastic", **tokenizer: Any) -> Path:
    """Save a model that speaks some frames for each letter, louder and softer.

    Args:
        folder: of the model.
        kind: of KINDS.
        tokenizer: settings of its tokenizer.
    """
    import transformers

    torch.manual_seed(0)
    config = transformers.VitsConfig(**{**SIZES, **KINDS[kind]})
    model = transformers.VitsModel(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim >= 2 and not name.endswith("original0"):
                weight.normal_(std=1.2 / weight[0].numel() ** 0.5)
        predictor: Any = model.duration_predictor
        if config.use_stochastic_duration_prediction:
            predictor.flows[0].translate.fill_(-1.0)  # of a log: about three frames
            predictor.flows[0].log_scale.fill_(1.0)
        else:
            predictor.proj.bias.fill_(1.0)
            predictor.proj.weight.mul_(0.3)
    model.save_pretrained(folder)
    write_tokenizer(folder, **tokenizer)
    return folder


def write_tokenizer(folder: Path, **tokenizer: Any) -> None:
    """Save a tokenizer alone, of such settings."""
    import transformers

    folder.mkdir(exist_ok=True)
    vocabulary = folder / "letters.json"
    vocabulary.write_text(json.dumps({each: place for place, each in enumerate(LETTERS)}))
    said = {"pad_token": "k", "phonemize": False, **tokenizer}  # "<unk>" is no letter
    transformers.VitsTokenizer(str(vocabulary), **said).save_pretrained(folder)
    vocabulary.unlink()


def texts() -> list[bytes]:
    """Request bodies: from a letter to some words, and signs that nobody speaks."""
    found = [*(SAID[:size] for size in (1, 7, 20, 37)), "Ask, IT; something!", "q", "el niño 7"]
    return [each.encode() for each in found]
