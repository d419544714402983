"""Explain predictions: attribute them to the numbers of a model's input.

Integrated gradients where the runtime has gradients, occlusion otherwise; both are captum's.
See: M. Sundararajan, A. Taly, Q. Yan, Axiomatic Attribution for Deep Networks, 2017, and
M. Zeiler, R. Fergus, Visualizing and Understanding Convolutional Networks, 2013.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar, Generic, Literal, TypeVar

import torch

from handlers.errors import BadRequest
from handlers.runtimes import Runtime, Tensors
from handlers.schema import setting, unknown
from handlers.task import Answer, Sample

Method = Literal["integrated_gradients", "occlusion"]
Explained = Callable[[Tensors], torch.Tensor]
BATCH = 16  # inputs that are run at once, when the batch has fewer


@dataclass(frozen=True, kw_only=True)
class ExplanationOptions:
    """The options of a request for an explanation."""

    target: str | None = setting(
        None, "The label or output to explain; by default the likeliest, or the first."
    )
    method: Method | None = setting(
        None, "By default integrated gradients, where there are gradients."
    )
    steps: int = setting(32, "Points on the path of gradients.", minimum=2, maximum=256)


M = TypeVar("M")


class Explainer(ABC, Generic[M]):
    """What a task that explains its answers implements, besides a `base.Handler`.

    The parameter is the type of its samples' `meta`.

    Attributes:
        ExplainOptions: the dataclass of the options of a request for an explanation.
        Explanation: the dataclass of an explanation of one sample.
    """

    ExplainOptions: ClassVar[type[ExplanationOptions]] = ExplanationOptions
    Explanation: ClassVar[type[Answer]]

    def explained(self, outputs: Tensors) -> torch.Tensor:
        """The numbers that can be explained, (N, numbers); by default the first output."""
        first = next(iter(outputs.values()))
        return first if first.dim() > 1 else first[:, None]

    @abstractmethod
    def targets(
        self, outputs: Tensors, samples: Sequence[Sample[ExplanationOptions, M]]
    ) -> torch.Tensor:
        """The number of `explained` that is explained for each sample: (N,) int64."""

    def windows(self, inputs: Tensors) -> dict[str, tuple[int, ...]]:
        """The shape of what occlusion hides at once in each input, without the batch."""
        return {}

    def baselines(self, inputs: Tensors) -> Tensors:
        """What says nothing, by input, (1, ...) in its type; 0 where there is none."""
        return {}

    @abstractmethod
    def explanation(
        self,
        attributions: Tensors,
        targets: torch.Tensor,
        samples: Sequence[Sample[ExplanationOptions, M]],
    ) -> Sequence[Answer]:
        """Turn attributions, in the shapes of the inputs, into one `Explanation` per sample."""

    def explain_batch(
        self,
        runtime: Runtime,
        inputs: Tensors,
        outputs: Tensors,
        samples: Sequence[Sample[ExplanationOptions, M]],
        check_time: Callable[[], None],
    ) -> Sequence[Answer]:
        """Explain a batch of samples whose options are equal; see `attribute`."""
        targets, options = self.targets(outputs, samples), samples[0].options
        attributions = attribute(
            runtime, inputs, targets, options, self.windows(inputs), self.explained, check_time,
            self.baselines(inputs) or None,
        )  # fmt: skip
        return self.explanation(attributions, targets, samples)


def check() -> None:
    """Check that this server can explain.

    Raises:
        BadRequest: captum is missing.
    """
    _captum()


def choose(options: ExplanationOptions, runtime: Runtime, inputs: Tensors) -> Method:
    """Choose the method for a request.

    Raises:
        BadRequest: 422 when it asks for gradients and there are none.
    """
    without = ""
    if not hasattr(runtime, "gradients"):
        without = "this archive's runtime has no gradients; eager and TorchScript in fp32 have"
    elif whole := [name for name, x in inputs.items() if not x.is_floating_point()]:
        without = f"there are no gradients of whole numbers, such as this model's {whole[0]!r}"
    if without and options.method == "integrated_gradients":
        raise BadRequest(without, hint="ask for the method occlusion", status=422)
    return options.method or ("occlusion" if without else "integrated_gradients")


def attribute(
    runtime: Runtime,
    inputs: Tensors,
    targets: torch.Tensor,
    options: ExplanationOptions,
    windows: Mapping[str, tuple[int, ...]],
    explained: Explained,
    check_time: Callable[[], None] = lambda: None,
    baselines: Tensors | None = None,
) -> Tensors:
    """Compute how much each number of a batch of inputs added to the number that is explained.

    The baseline is 0, unless it is given: the mean colour of normalised images, the mean of scaled
    columns, a category that is missing.

    Args:
        runtime: the model.
        inputs: a batch.
        targets: (N,) int64; which of the numbers that `explained` gives is explained.
        options: the requests', equal for all samples.
        windows: by input, the shape of what is occluded together, without the batch; other
            inputs are occluded number by number.
        explained: turns the model's outputs into what can be explained, (N, numbers).
        check_time: called before each run of the model; raises when there is no time left.
        baselines: by input, what is in the place of what is hidden; (1, ...).

    Returns:
        Attributions by input, in the inputs' shapes; float32.

    Raises:
        BadRequest: see `choose`.
    """
    captum, batch = _captum(), tuple(inputs.values())
    nothing = baselines and tuple(baselines.get(name, 0) for name in inputs)
    if choose(options, runtime, inputs) == "integrated_gradients":
        gradients: Runtime = runtime.gradients  # type: ignore[attr-defined]
        model = _of_positions(gradients, inputs, explained, check_time)
        found = captum.IntegratedGradients(model).attribute(
            batch,
            nothing,
            target=targets,
            n_steps=options.steps,
            internal_batch_size=max(BATCH, len(targets)),
        )
    else:
        shapes = tuple(windows.get(name, (1,) * (x.dim() - 1)) for name, x in inputs.items())
        model = _of_positions(runtime, inputs, explained, check_time)
        with torch.inference_mode():
            found = captum.Occlusion(model).attribute(
                batch,
                target=targets,
                baselines=nothing,
                sliding_window_shapes=shapes,
                strides=shapes,
                perturbations_per_eval=max(1, BATCH // len(targets)),
            )
    return {name: each.detach().float() for name, each in zip(inputs, found, strict=True)}


def classes(
    likeliest: torch.Tensor, names: Sequence[str], samples: Sequence[Sample[ExplanationOptions, M]]
) -> torch.Tensor:
    """The class of each sample that its request names, or else the likeliest.

    Args:
        likeliest: (N,) int64.
        names: the names of all classes.
        samples: each with the options of its request.

    Returns:
        (N,) int64.

    Raises:
        BadRequest: 422 when there is no class of that name.
    """
    targets = []
    for best, sample in zip(likeliest.tolist(), samples, strict=True):
        wanted = sample.options.target
        if wanted is not None and wanted not in names:
            raise BadRequest(unknown(wanted, names, "the labels"), status=422)
        targets.append(best if wanted is None else names.index(wanted))
    return torch.tensor(targets)


def _of_positions(
    model: Runtime, inputs: Tensors, explained: Explained, check_time: Callable[[], None]
) -> Callable[..., torch.Tensor]:
    def run(*batch: torch.Tensor) -> torch.Tensor:
        check_time()
        found = explained(model(dict(zip(inputs, batch, strict=True))))
        # captum wants gradients of all inputs, even of those that a model doesn't use.
        unused = [each.flatten(1).sum(dim=1, keepdim=True) * 0 for each in batch]
        return found + sum(unused) if found.requires_grad else found

    return run


def _captum() -> ModuleType:
    try:
        import captum.attr
    except ImportError:
        raise BadRequest(
            "this server has no captum, which explanations need", hint="pip install captum there"
        ) from None
    module: ModuleType = captum.attr
    return module
