"""Models of transformers that take tokens, called by position, as converters need them."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch

from marsmith.errors import BuildError
from marsmith.sources.heads import _tokenizer
from marsmith.sources.heads._tokenizer import TokenSettings

LABELS = "labels.json"


class OnTokens(torch.nn.Module):
    """A model that takes tokens by position and returns plain tensors.

    Args:
        model: one of transformers'.
        outputs: how many of its outputs are returned, from the first.
    """

    def __init__(self, model: torch.nn.Module, outputs: int = 1) -> None:
        super().__init__()
        self.model, self.outputs = model, outputs

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Run tokens, their mask and, if the model takes them, their types, each (N, T) int64."""
        named = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        found = self.model(input_ids=input_ids, attention_mask=attention_mask, **named)
        outputs: tuple[torch.Tensor, ...] = tuple(found[: self.outputs])
        return outputs[0] if self.outputs == 1 else outputs


def labels(config: Any) -> list[str]:
    """The names of the classes, in their order.

    Raises:
        BuildError: config.json doesn't name every class.
    """
    known = dict(config.id2label)
    if sorted(known) != list(range(len(known))):
        raise BuildError(
            f"'id2label' in config.json has the numbers {sorted(known)[:5]}; "
            "they must run from 0 without a gap"
        )
    return [str(known[number]) for number in range(len(known))]


def bring(module: torch.nn.Module, folder: Path, out: Path) -> TokenSettings:
    """Bring the tokenizer of an OnTokens, and see that it can be padded.

    Raises:
        BuildError: see `_tokenizer.bring`.
        UnsupportedError: padding changes what the model answers.
    """
    found: TokenSettings = {**_tokenizer.bring(module, folder, out), **settings(module)}
    _tokenizer.see_that_it_pads(module, out, found)
    return found


def settings(module: torch.nn.Module) -> TokenSettings:
    """`token_types`, if the model of an OnTokens tells the first of two texts from the second."""
    model = module.get_submodule("model")
    takes = "token_type_ids" in inspect.signature(model.forward).parameters
    types = int(getattr(model.config, "type_vocab_size", 0) or 0)
    return {"token_types": True} if takes and types > 1 else {}
