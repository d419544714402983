"""Which weights nothing but chance has set: a network that nobody has trained, or half of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

RANDOM = ("normal", "uniform", "rand", "bernoulli", "exponential", "cauchy", "geometric")
WRITING = ("copy_", "set_", "fill_", "zero_")  # whatever was there before
SHAPES = ("ones_like", "zeros_like", "empty_like", "full_like", "new_")  # and no numbers


class Chance(TorchDispatchMode):
    """Notes, in its block, which tensors have their numbers from random ones.

    What is computed from such a tensor is random, too; what something else is copied into is not,
    and what an optimiser has stepped on has been trained.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's have no annotations
        # By storage, which is kept from being another's address for as long as it is noted.
        self.random: dict[int, StorageWeakRef] = {}
        self.hook: Any = None

    def __enter__(self) -> Chance:
        self.hook = register_optimizer_step_post_hook(self._trained)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *about: object) -> None:
        super().__exit__(*about)  # type: ignore[no-untyped-call]
        self.hook.remove()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        name = func.__name__.partition(".")[0]
        if name in WRITING:
            self._note(made, random=self._is_random(args[1:]))
        elif name.startswith(RANDOM) or self._computed(name, args):
            self._note(made, random=True)
        return made

    def of(self, module: torch.nn.Module) -> tuple[str, ...]:
        """The names of a module's parameters that are random."""
        return tuple(name for name, each in module.named_parameters() if self._is_random(each))

    def _note(self, made: object, *, random: bool) -> None:
        for tensor in _floats(made):
            storage = tensor.untyped_storage()
            if random:
                self.random[storage._cdata] = StorageWeakRef(storage)
            else:
                self.random.pop(storage._cdata, None)

    def _computed(self, name: str, args: Sequence[Any]) -> bool:
        """Whether a function makes new numbers of random ones."""
        return not name.endswith("_") and not name.startswith(SHAPES) and self._is_random(args)

    def _is_random(self, several: object) -> bool:
        return any(each.untyped_storage()._cdata in self.random for each in _floats(several))

    def _trained(self, optimiser: Optimizer, *_: object) -> None:
        self._note([each["params"] for each in optimiser.param_groups], random=False)


def _floats(several: object) -> list[torch.Tensor]:
    leaves = tree_leaves(several)
    return [x for x in leaves if isinstance(x, torch.Tensor) and x.is_floating_point()]
