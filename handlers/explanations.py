"""What a prediction was made of: an attribution for each number of a model's input.

Integrated gradients where the runtime has gradients, occlusion otherwise; both are captum's.
See: M. Sundararajan, A. Taly, Q. Yan, Axiomatic Attribution for Deep Networks, 2017, and
M. Zeiler, R. Fergus, Visualizing and Understanding Convolutional Networks, 2013.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from handlers.batching import Sample
from handlers.errors import BadRequest
from handlers.runtimes import Runtime, Tensors
from handlers.schema import setting, unknown

Method = Literal["integrated_gradients", "occlusion"]
MAX_NAMES = 20  # in a message
BATCH = 16  # inputs that are run at once, when the batch has fewer


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a request for an explanation may ask for."""

    target: str | None = setting(None, "The label to explain; by default the likeliest.")
    method: Method | None = setting(None, "By default integrated gradients, where there are any.")
    steps: int = setting(32, "Points on the path of gradients.", minimum=2, maximum=256)


def check() -> None:
    """Say so when this server can't explain.

    Raises:
        BadRequest: captum is missing.
    """
    _captum()


def choose(options: Options, runtime: Runtime) -> Method:
    """The method that a request gets.

    Raises:
        BadRequest: 422 when it asks for gradients, and the runtime has none.
    """
    gradients = getattr(runtime, "gradients", None)
    if options.method == "integrated_gradients" and gradients is None:
        raise BadRequest(
            "this archive's runtime has no gradients; those of eager and TorchScript in fp32 have",
            hint="ask for the method occlusion",
            status=422,
        )
    return options.method or ("occlusion" if gradients is None else "integrated_gradients")


def attribute(
    runtime: Runtime,
    inputs: Tensors,
    targets: torch.Tensor,
    options: Options,
    windows: Mapping[str, tuple[int, ...]],
    check_time: Callable[[], None] = lambda: None,
) -> Tensors:
    """How much each number of a batch of inputs has added to the output that is explained.

    What is absent is 0: the mean colour of normalised images, the mean of scaled columns.

    Args:
        runtime: the model; its first output is explained, (N,) or (N, outputs).
        inputs: a batch.
        targets: (N,) int64; of each sample, which of its outputs.
        options: of the requests; equal for all samples.
        windows: by input, the shape of what is occluded together, without the batch; inputs
            that aren't named are taken number by number.
        check_time: called before each run of the model; raises when there is no time left.

    Returns:
        Attributions by input, in the inputs' shapes; float32.

    Raises:
        BadRequest: see `choose`.
    """
    captum, names = _captum(), list(inputs)
    explained = tuple(inputs.values())
    if choose(options, runtime) == "integrated_gradients":
        gradients: Callable[[Tensors], Tensors] = runtime.gradients  # type: ignore[attr-defined]
        found = captum.IntegratedGradients(_scalar(gradients, names, check_time)).attribute(
            explained,
            target=targets,
            n_steps=options.steps,
            internal_batch_size=max(BATCH, len(targets)),
        )
    else:
        shapes = tuple(windows.get(name, (1,) * (x.dim() - 1)) for name, x in inputs.items())
        with torch.inference_mode():
            found = captum.Occlusion(_scalar(runtime, names, check_time)).attribute(
                explained,
                target=targets,
                sliding_window_shapes=shapes,
                strides=shapes,
            )
    return {name: each.detach().float() for name, each in zip(names, found, strict=True)}


def classes(
    likeliest: torch.Tensor, names: Sequence[str], samples: Sequence[Sample]
) -> torch.Tensor:
    """Of each sample, the class that its request names, or else the likeliest.

    Args:
        likeliest: (N,) int64.
        names: of all classes.
        samples: whose options are of one request each.

    Returns:
        (N,) int64.

    Raises:
        BadRequest: 422 when there is no class of that name.
    """
    targets = []
    for best, sample in zip(likeliest.tolist(), samples, strict=True):
        wanted = sample.options.target
        if wanted is not None and wanted not in names:
            raise BadRequest(unknown(wanted, list(names)[:MAX_NAMES], "the labels"), status=422)
        targets.append(best if wanted is None else names.index(wanted))
    return torch.tensor(targets)


def _scalar(
    model: Callable[[Tensors], Tensors], names: list[str], check_time: Callable[[], None]
) -> Callable[..., Any]:
    def run(*inputs: torch.Tensor) -> torch.Tensor:
        check_time()
        output = next(iter(model(dict(zip(names, inputs, strict=True))).values()))
        return output if output.dim() > 1 else output[:, None]

    return run


def _captum() -> Any:
    try:
        import captum.attr as captum
    except ImportError:
        raise BadRequest(
            "this server has no captum, which explanations need", hint="pip install captum there"
        ) from None
    return captum
