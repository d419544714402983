"""CLIP or SigLIP: a model of images and texts, which are compared with each other."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from marsmith.errors import UnsupportedError
from marsmith.recipe.sections import Untouched
from marsmith.sources.heads import _on_images, _preprocessor, _tokenizer, _untouched

AUTO = "AutoModelForZeroShotImageClassification"

KINDS = ("clip", "siglip")
SIGLIPS_TOKENS = 64  # which transformers' pipeline pads every label to


class Towers(torch.nn.Module):
    """A model from images, and some texts beside each, to the vectors of both.

    Args:
        model: of transformers, with `get_image_features` and `get_text_features`.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        image: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn images, (N, 3, H, W), and tokens, (N, K, T), into (N, D) and (N, K, D) float32."""
        model: Any = self.model
        count, texts, _ = input_ids.shape
        mask = None if attention_mask is None else attention_mask.flatten(0, 1)
        read = model.get_text_features(input_ids=input_ids.flatten(0, 1), attention_mask=mask)
        seen = model.get_image_features(pixel_values=image)
        vectors: torch.Tensor = read.pooler_output
        return seen.pooler_output, vectors.reshape(count, texts, vectors.shape[-1])


def wrap(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Wrap a model in Towers.

    Raises:
        UnsupportedError: it is neither CLIP's nor SigLIP's.
    """
    config: Any = model.config
    if config.model_type not in KINDS:
        raise UnsupportedError(
            f"{folder.name} is a {config.model_type}; those of {' and '.join(KINDS)} can be served",
            "bring a 'source.factory' whose module answers vectors of images and of texts",
        )
    return Towers(model)


def _compares(model: Any, tokenizer: Any) -> dict[str, object]:
    """How vectors become scores, and texts tokens, as transformers' own pipeline does it."""
    said = {
        "scale": math.exp(model.logit_scale.item()),
        "attention_mask": "attention_mask" in tokenizer.model_input_names,
    }
    if model.config.model_type == "clip":
        return {**said, "activation": "softmax"}
    return {
        **said, "bias": model.logit_bias.item(), "activation": "sigmoid",
        "text_length": SIGLIPS_TOKENS, "max_tokens": SIGLIPS_TOKENS,
    }  # fmt: skip


def untouched(
    folder: Path, instances: Sequence[object], handler: Mapping[str, object]
) -> Untouched:
    """What transformers' pipeline says to images, of the labels that the recipe has by default."""
    transformers: Any = importlib.import_module("transformers")
    model, tokenizer = _untouched.read(folder, AUTO)
    processor = _preprocessor.read(folder)
    ask = transformers.pipeline(
        "zero-shot-image-classification",
        model=model, image_processor=processor, tokenizer=tokenizer,
    )  # fmt: skip
    said: Any = handler.get("defaults") or {}
    template = {k: v for k, v in said.items() if k == "hypothesis_template"}
    as_the_folder = _on_images.as_the_folder(folder, handler, **_compares(model, tokenizer))
    answers: list[object] = []
    for image in _on_images.opened(instances):
        if image is None or not as_the_folder:
            answers.append(None)
            continue
        found = ask(image, candidate_labels=list(said["labels"]), **template)
        answers.append({each["label"]: each["score"] for each in found})
    return Untouched(answers, [None] * len(answers))


def bring(module: torch.nn.Module, folder: Path, out: Path) -> Mapping[str, object]:
    """Bring the tokenizer; say how images are prepared, and how vectors become scores."""
    model: Any = module.get_submodule("model")
    tokens = _tokenizer.bring(module, folder, out)
    tokenizer = _padding_as_the_folder(folder, out / _tokenizer.FILE)
    positions = int(model.config.text_config.max_position_embeddings)
    most = min(tokens.get("max_tokens", positions), positions)
    return {
        **_preprocessor.bring(folder),
        **tokens,
        "max_tokens": most,
        **_compares(model, tokenizer),
    }


def _padding_as_the_folder(folder: Path, file: Path) -> Any:
    """The folder's own tokenizer; let the one that travels say which token it pads with."""
    from tokenizers import Tokenizer

    auto: Any = importlib.import_module("transformers").AutoTokenizer
    own = auto.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if own.pad_token is None:
        raise UnsupportedError(f"{folder.name} has no token to pad labels with")
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.enable_padding(pad_id=own.pad_token_id, pad_token=own.pad_token)
    tokenizer.save(str(file))
    return own
