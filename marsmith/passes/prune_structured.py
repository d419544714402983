"""Removes whole channels: what is left is really smaller, and faster on any engine.

See: G. Fang et al., DepGraph: Towards Any Structural Pruning, 2023, arXiv:2301.12900.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from pydantic import Field
from torch import nn

from handlers.runtimes import Tensors
from handlers.runtimes.eager import Outputs, named
from marsmith.errors import BuildError, UnsupportedError, reason
from marsmith.extras import need
from marsmith.passes import Work, size
from marsmith.recipe.sections import TrainedPass
from marsmith.training.fit import fit, planned


class PruneStructured(TrainedPass):
    """Removes the channels of the least norm from each layer, with all that depends on them."""

    ratio: float = Field(0.5, gt=0, lt=1)
    """The share of each layer's channels that is removed."""
    ignore: list[str] = []
    """Names of modules whose channels stay; those that make the outputs always do."""

    def apply(self, module: nn.Module, work: Work) -> tuple[nn.Module, dict[str, object]]:
        """Prune a module in place, and train what is left of it.

        Raises:
            BuildError: there is nothing to remove, or the rest can't be trained.
            UnsupportedError: Torch-Pruning is missing, or can't follow what the module does.
        """
        need("prune", "torch_pruning")
        training = planned(self, work.training)
        ignored = [_named(module, name) for name in self.ignore]
        before, shapes = size(module, work.batch), _shapes(module, work.batch)
        try:
            self._prune(module, tuple(work.batch.values()), ignored)
            after = size(module, work.batch)
        except Exception as error:  # whatever the module does with shapes that it didn't expect
            raise UnsupportedError(
                f"prune_structured can't follow this model: {reason(error)}",
                "name the modules that need all their channels, such as attention, in 'ignore'",
            ) from error
        if shapes != _shapes(module, work.batch):
            raise UnsupportedError(
                "prune_structured would change the shapes of this model's outputs",
                "name the modules that make them in 'ignore'",
            )
        if before == after:
            raise BuildError("prune_structured found no channels that it may remove")
        report = fit(module, training, work.cache, work.key, work.say) if training else {}
        return module.eval(), {"before": before, "after": after, **report}

    def _prune(
        self, module: nn.Module, inputs: tuple[torch.Tensor, ...], ignored: list[nn.Module]
    ) -> None:
        import torch_pruning

        ends: list[object] = []

        def note_ends(outputs: Outputs) -> Outputs:
            ends.extend(tensor.grad_fn for tensor in named(outputs).values())
            return outputs

        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")  # about parameters outside of layers, which it handles
            pruner = torch_pruning.pruner.BasePruner(
                module.requires_grad_(),
                inputs,
                torch_pruning.importance.GroupMagnitudeImportance(),
                pruning_ratio=self.ratio,
                output_transform=note_ends,
                # Its own defaults would be shared with the next model.
                in_channel_groups={},
                out_channel_groups={},
                num_heads={},
            )
            pruner.ignored_layers = [part for each in ignored for part in each.modules()]
            pruner.ignored_layers += _last(pruner.DG, ends)
            pruner.step()


def _last(graph: Any, ends: list[object]) -> Iterator[nn.Module]:
    """Yield the layers whose output channels are channels of the model's outputs."""
    for group in graph.get_all_groups():
        for dependency, _ in group:
            makes = graph.is_out_channel_pruning_fn(dependency.handler)
            if makes and dependency.target.grad_fn in ends:
                yield group[0].dep.target.module
                break


def _named(module: nn.Module, name: str) -> nn.Module:
    try:
        return module.get_submodule(name)
    except AttributeError:
        known = ", ".join(each for each, _ in module.named_modules() if each)
        raise BuildError(f"'ignore' names {name!r}; the model's modules are: {known}") from None


def _shapes(module: nn.Module, batch: Tensors) -> dict[str, torch.Size]:
    with torch.inference_mode():
        return {k: v.shape for k, v in named(module(*batch.values())).items()}
