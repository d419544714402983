"""One file per way to execute a model, each with `load(path, device, **options)`.

A runtime is one call: named tensors in, named tensors out, the batch first. The
module's name is the key that a `model-config.yaml` names it by.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

Tensors = dict[str, torch.Tensor]
Runtime = Callable[[Tensors], Tensors]
