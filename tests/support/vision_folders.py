"""Tiny folders of transformers' vision models, with random weights and their own processors."""

from __future__ import annotations

import io
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

LABELS = {0: "cat", 1: "dog", 2: "bird", 3: "crane", 4: "crane"}
LAYERS: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
}  # fmt: skip
STAGES: dict[str, Any] = {"depths": [1, 1], "hidden_sizes": [8, 16], "num_stages": 2}

# Of a family: the configuration, the processor, and what both say. Sizes are small, but steps are
# those of the published checkpoints.
FAMILIES: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "vit": (
        "ViT", {**LAYERS, "image_size": 32, "patch_size": 8},
        "ViT", {"size": {"height": 32, "width": 32}},
    ),
    "deit": (
        "DeiT", {**LAYERS, "image_size": 32, "patch_size": 8},
        "DeiT", {"size": {"height": 37, "width": 37}, "crop_size": {"height": 32, "width": 32}},
    ),
    "swin": (
        "Swin",
        {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2],
         "window_size": 4},
        "ViT", {"size": {"height": 32, "width": 32}, "resample": 3},
    ),
    "convnext": (
        "ConvNext", STAGES,
        "ConvNext", {"size": {"shortest_edge": 33}, "crop_pct": 0.875},
    ),
    "resnet": (
        "ResNet", {"embedding_size": 8, **STAGES, "layer_type": "basic"},
        "ConvNext", {"size": {"shortest_edge": 32}, "crop_pct": 0.9},
    ),
    "efficientnet": (
        "EfficientNet",
        {"image_size": 40, "width_coefficient": 0.2, "depth_coefficient": 0.2, "hidden_dim": 256,
         "dropout_rate": 0.0},
        "EfficientNet",
        {"size": {"height": 40, "width": 40}, "resample": 0, "include_top": True,
         "image_mean": [0.485, 0.456, 0.406], "image_std": [0.478, 0.473, 0.474]},
    ),
    "dinov2": (
        "Dinov2", {**LAYERS, "image_size": 28, "patch_size": 14},
        "Bit",
        {"size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 28}, "resample": 3,
         "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
    ),
}  # fmt: skip

TEXTS = {**LAYERS, "vocab_size": 60, "max_position_embeddings": 16}
SEES = {**LAYERS, "image_size": 32, "patch_size": 8}
# Models of images and texts.
TOWERS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "clip": (
        "CLIP", {"text_config": TEXTS, "vision_config": SEES, "projection_dim": 12},
        "CLIP",
        {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}},
    ),
    "siglip": (
        "Siglip", {"text_config": TEXTS, "vision_config": SEES},
        "Siglip", {"size": {"height": 32, "width": 32}},
    ),
}  # fmt: skip

RESNET: dict[str, Any] = {
    "embedding_size": 8, "hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1],
    "layer_type": "basic", "out_features": ["stage2", "stage3", "stage4"],
}  # fmt: skip
MEANS = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
# The sides of DETR's images are bounded, but not fixed.
DETECTORS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "detr": (
        "Detr",
        {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
         "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16,
         "num_queries": 12, "use_timm_backbone": False, "use_pretrained_backbone": False,
         "backbone": None, "backbone_config": {"model_type": "resnet", **RESNET}},
        "Detr", {"size": {"shortest_edge": 80, "longest_edge": 133}, **MEANS},
    ),
    "yolos": (
        "Yolos",
        {**LAYERS, "image_size": [64, 96], "patch_size": 16, "num_detection_tokens": 12},
        "Yolos", {"size": {"shortest_edge": 64, "longest_edge": 110}, **MEANS},
    ),
    "rt_detr": (
        "RTDetr",
        {"d_model": 16, "encoder_hidden_dim": 16, "encoder_in_channels": [8, 8, 8],
         "encoder_ffn_dim": 16, "encoder_attention_heads": 2, "decoder_in_channels": [16, 16, 16],
         "decoder_ffn_dim": 16, "decoder_layers": 2, "decoder_attention_heads": 2,
         "num_queries": 15, "num_denoising": 0, "hidden_expansion": 0.5,
         "backbone_config": {"model_type": "rt_detr_resnet", **RESNET}},
        "RTDetr", {"size": {"height": 64, "width": 64}},
    ),
}  # fmt: skip

SEGMENTERS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "segformer": (
        "Segformer",
        {"num_encoder_blocks": 2, "depths": [1, 1], "sr_ratios": [2, 1], "hidden_sizes": [8, 16],
         "patch_sizes": [7, 3], "strides": [4, 2], "num_attention_heads": [1, 2],
         "mlp_ratios": [2, 2], "decoder_hidden_size": 16},
        "Segformer", {"size": {"height": 64, "width": 64}},
    ),
    "upernet": (
        "UperNet",
        {"hidden_size": 16, "pool_scales": [1, 2], "use_auxiliary_head": False,
         "backbone_config": {"model_type": "convnext", "depths": [1, 1, 1, 1],
                             "hidden_sizes": [8, 8, 16, 16],
                             "out_features": ["stage1", "stage2", "stage3", "stage4"]}},
        "Segformer", {"size": {"height": 64, "width": 64}},
    ),
}  # fmt: skip
FOUR: dict[str, Any] = {**LAYERS, "num_hidden_layers": 4, "neck_hidden_sizes": [8, 8, 16, 16]}
# Models without a task of their own, and what their classes end with.
OTHERS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "glpn": (
        "GLPN",
        {"num_encoder_blocks": 2, "depths": [1, 1], "sr_ratios": [2, 1], "hidden_sizes": [8, 16],
         "patch_sizes": [7, 3], "strides": [4, 2], "num_attention_heads": [1, 2],
         "mlp_ratios": [2, 2], "decoder_hidden_size": 16},
        "GLPN", {},
    ),
    "dpt": (
        "DPT", {**FOUR, "image_size": 32, "patch_size": 8, "backbone_out_indices": [0, 1, 2, 3],
                "fusion_hidden_size": 16},
        "DPT", {"size": {"height": 32, "width": 32}},
    ),
    "depth_anything": (
        "DepthAnything",
        {"backbone_config": {"model_type": "dinov2", **LAYERS, "num_hidden_layers": 4,
                             "image_size": 28, "patch_size": 14, "reshape_hidden_states": False,
                             "out_features": ["stage1", "stage2", "stage3", "stage4"]},
         "patch_size": 14, "reassemble_hidden_size": 16, "neck_hidden_sizes": [8, 8, 16, 16],
         "fusion_hidden_size": 16, "head_hidden_size": 8},
        "DPT",
        {"size": {"height": 56, "width": 56}, "keep_aspect_ratio": True, "ensure_multiple_of": 14},
    ),
    "swin2sr": (
        "Swin2SR",
        {"image_size": 32, "embed_dim": 12, "depths": [1, 1], "num_heads": [2, 2],
         "window_size": 4, "upscale": 2},
        "Swin2SR", {},
    ),
}  # fmt: skip
EVERY = {**FAMILIES, **TOWERS, **DETECTORS, **SEGMENTERS, **OTHERS}


def save(
    folder: Path,
    family: str,
    kind: str = "ForImageClassification",
    said: Mapping[str, Any] | None = None,
    **processor: Any,
) -> Path:
    """Save a family's model, whose weights are far enough from each other that inputs matter."""
    import transformers

    torch.manual_seed(0)
    name, config, prepares, steps = EVERY[family]
    labels = {"id2label": LABELS} if kind.startswith("For") else {}
    made = getattr(transformers, f"{name}Config")(**{**config, **labels, **(said or {})})
    model = getattr(transformers, f"{name}{kind}")(made).eval()
    spread(model)
    model.save_pretrained(folder)
    pil = getattr(transformers, f"{prepares}ImageProcessorPil")
    pil(**{**steps, **processor}).save_pretrained(folder)
    return folder


def spread(model: torch.nn.Module, takes: str = "pixel_values") -> None:
    """Make weights larger, and the statistics of norms those of noise, so that answers differ."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim >= 2:
                weight.normal_(std=1.5 / weight[0].numel() ** 0.5)
            elif name.endswith(("lambda1", "gamma")):  # of how little a layer counts at first
                weight.fill_(0.5)
            elif name in ("head.head.4.bias", "head.conv3.bias"):  # before the ReLU of a depth
                weight.fill_(40)
        for name, heads in model.named_modules():
            if name.endswith("classifier") and isinstance(heads, torch.nn.Linear):
                heads.weight.mul_(2)
        norms = [each for each in model.modules() if isinstance(each, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = None  # the mean of all batches
            norm.weight.uniform_(0.7, 1.5)
        if norms:
            model.train()(**{takes: torch.randn(8, 3, 64, 64)})
            model.eval()


def without_transformers(folder: Path) -> dict[str, str]:
    """The environment of a worker that can't import transformers."""
    (blocked := folder / "blocked" / "transformers").mkdir(parents=True)
    (blocked / "__init__.py").write_text("raise ImportError('it is not installed here')\n")
    return {"PYTHONPATH": str(blocked.parent)}


def bodies() -> list[bytes]:
    """Encoded images: wide, high, tiny, grey, transparent, of a palette, turned by EXIF."""
    chance, sizes = random.Random(0), [(61, 47), (40, 97), (7, 9), (32, 32), (131, 33)]
    modes = ["RGB", "RGBA", "L", "P", "RGB", "LA", "CMYK", "1"]
    found = [encode(picture(sizes[n % 5], n, chance).convert(mode)) for n, mode in enumerate(modes)]
    transparent = picture((50, 40), 20, chance).quantize(16)
    found.append(encode(transparent, transparency=3))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    found.append(encode(picture((60, 44), 21, chance), "JPEG", exif=exif))
    return found


def picture(size: tuple[int, int], seed: int, chance: random.Random) -> Image.Image:
    """Smooth patches of colours, as photographs have them, and some noise."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    fine = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.int16)
    noise = generator.integers(-20, 21, fine.shape)
    tint = np.array([chance.randrange(-60, 60) for _ in range(3)])
    return Image.fromarray((fine + noise + tint).clip(0, 255).astype(np.uint8))


def encode(image: Image.Image, form: str | None = None, **options: Any) -> bytes:
    """An image as bytes; a TIFF where PNG has no such mode."""
    buffer = io.BytesIO()
    image.save(buffer, form or ("TIFF" if image.mode == "CMYK" else "PNG"), **options)
    return buffer.getvalue()
