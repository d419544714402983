"""Tiny folders of transformers' classifiers of sound, with random weights and their extractors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.support.audio import encode, wave

RATE = 16000
LABELS = {0: "music", 1: "speech", 2: "rain", 3: "bell", 4: "bell"}
LAYERS: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 37,
}  # fmt: skip
CONVOLUTIONS: dict[str, Any] = {
    **LAYERS, "conv_dim": (16, 16, 16), "conv_stride": (5, 4, 4), "conv_kernel": (10, 4, 4),
    "num_feat_extract_layers": 3, "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 24, "vocab_size": 32,
}  # fmt: skip
# Some are longer than what AST and Whisper read; the first is shorter than a spectrum.
LENGTHS = [399, 800, 9000, 16000, 16000, 20001, 33333, 40000, 7000]
STABLE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}

# Of a family: the configuration, the model, the feature extractor, and what both say.
FAMILIES: dict[str, tuple[str, dict[str, Any], str, str, dict[str, Any]]] = {
    "wav2vec2": (
        "Wav2Vec2", {**CONVOLUTIONS, **STABLE}, "ForSequenceClassification",
        "Wav2Vec2", {"return_attention_mask": True},
    ),
    "wav2vec2_group": (
        "Wav2Vec2", CONVOLUTIONS, "ForSequenceClassification",
        "Wav2Vec2", {"return_attention_mask": False},
    ),
    "hubert": (
        "Hubert", {**CONVOLUTIONS, **STABLE, "use_weighted_layer_sum": True},
        "ForSequenceClassification", "Wav2Vec2", {"return_attention_mask": True},
    ),
    "wavlm": (
        "WavLM", {**CONVOLUTIONS, **STABLE}, "ForSequenceClassification",
        "Wav2Vec2", {"return_attention_mask": True, "do_normalize": False},
    ),
    "ast": (
        "AST", {**LAYERS, "num_mel_bins": 64, "max_length": 96}, "ForAudioClassification",
        "AST", {"num_mel_bins": 64, "max_length": 96},
    ),
    "whisper": (
        "Whisper",
        {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 37,
         "decoder_layers": 1, "decoder_attention_heads": 2, "num_mel_bins": 40,
         "max_source_positions": 100, "vocab_size": 50, "pad_token_id": 0, "bos_token_id": 1,
         "eos_token_id": 2, "decoder_start_token_id": 1, "classifier_proj_size": 24},
        "ForAudioClassification", "Whisper", {"feature_size": 40, "chunk_length": 2},
    ),
}  # fmt: skip


def save(
    folder: Path, family: str, said: Mapping[str, Any] | None = None, **extractor: Any
) -> Path:
    """Save a family's model, whose weights are far enough from each other that inputs matter."""
    import transformers

    torch.manual_seed(0)
    name, config, kind, prepares, steps = FAMILIES[family]
    made = getattr(transformers, f"{name}Config")(**{**config, "id2label": LABELS, **(said or {})})
    model = getattr(transformers, f"{name}{kind}")(made).eval()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if weight.ndim >= 2 and "parametrizations" not in key:
                weight.normal_(std=1.5 / weight[0].numel() ** 0.5)
            if key.startswith(("classifier", "projector")) and weight.ndim == 2:
                weight.mul_(3)
    model.save_pretrained(folder)
    extract = getattr(transformers, f"{prepares}FeatureExtractor")
    extract(**{**steps, **extractor}).save_pretrained(folder)
    return folder


def waves() -> list[Any]:
    """Noise and tones, loud and quiet, and a silence with a click in it."""
    found = [wave(n, seed) * 10.0 ** -(seed % 4) for seed, n in enumerate(LENGTHS)]
    click = np.zeros(12000, np.float32)
    click[5000] = 0.7
    return [*found, click]


def recordings() -> list[bytes]:
    """The same as files, at the rate of the models."""
    return [encode(each, RATE, "WAV", "FLOAT") for each in waves()]
