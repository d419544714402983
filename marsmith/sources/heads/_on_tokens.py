"""Models of transformers that take tokens, as converters want them: called by position."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from marsmith.errors import BuildError

LABELS = "labels.json"


class OnTokens(torch.nn.Module):
    """A model that is called with tokens by position, and answers plain tensors.

    Args:
        model: one of transformers'.
        outputs: how many of its outputs, from the first, are answered.
    """

    def __init__(self, model: torch.nn.Module, outputs: int = 1) -> None:
        super().__init__()
        self.model, self.outputs = model, outputs

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
    ) -> Any:
        """Tokens, their mask and, if the model takes them, their types, each (N, T) int64."""
        named = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        found = self.model(input_ids=input_ids, attention_mask=attention_mask, **named)
        return found[0] if self.outputs == 1 else tuple(found[: self.outputs])


def labels(config: Any) -> list[str]:
    """The names of classes, in their order.

    Raises:
        BuildError: config.json doesn't have one for each.
    """
    known = dict(config.id2label)
    if sorted(known) != list(range(len(known))):
        raise BuildError(
            f"'id2label' in config.json has the numbers {sorted(known)[:5]}; they must be 0 and on"
        )
    return [str(known[number]) for number in range(len(known))]


def settings(module: torch.nn.Module) -> dict[str, Any]:
    """`token_types`, if the model of an OnTokens tells the first of two texts from the second."""
    model: Any = module.model
    takes = "token_type_ids" in inspect.signature(model.forward).parameters
    return {"token_types": True} if takes and _types(model) > 1 else {}


def _types(model: Any) -> int:
    return int(getattr(model.config, "type_vocab_size", 0) or 0)
