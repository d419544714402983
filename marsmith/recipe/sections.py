"""What a recipe, a YAML file in `archiver_configs/`, may say: typed, frozen, no unknown keys.

`reading.load` reads one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    InstanceOf,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from marsmith.recipe.live_data import LiveData
from marsmith.recipe.pins import PIN, split_pin

if TYPE_CHECKING:
    import torch

    from marsmith.cache import Cache
    from marsmith.passes import Work

Reference = str
"""A "module:function"."""

Precision = Literal["fp32", "bf16", "fp16", "int8", "int8_dynamic", "int8_weight", "int4_weight"]
"""int8 is static and calibrated; int8_dynamic takes the ranges of activations at run time;
int8_weight and int4_weight round weights only."""

Objective = Literal["latency", "throughput", "size"]
"""What decides which candidate is the best: the time of one request, requests per second at
`serving.batch_size`, or bytes."""


class Section(BaseModel):
    """A part of a recipe: frozen, and refusing what it doesn't know."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )


@dataclass(frozen=True)
class Untouched:
    """What the user's own model says to some instances, without any part of ours.

    Attributes:
        answers: to each instance, what a client is to get, or a part of it: the keys of an object
            that it names; None where that isn't known.
        outputs: of the model for each instance alone, in its order, or some of them by name; None
            where they aren't known.
        options: what a request asks for to get each answer, instead of what it asks for itself;
            empty where that makes no difference.
        by: who says it, in words: "the file itself, run by ONNX Runtime".
    """

    answers: Sequence[object]
    outputs: Sequence[tuple[torch.Tensor, ...] | Mapping[str, torch.Tensor] | None]
    options: Sequence[Mapping[str, object]] = ()
    by: str = ""


class Source(Section):
    """Where the model comes from; a subclass in each file of `marsmith/sources/`."""

    TRACED: ClassVar[bool] = False
    """Whether its models can be traced but not scripted: TorchScript is then made by tracing."""
    RUNTIME: ClassVar[str] = "torchscript"
    """What its models are converted for where a recipe doesn't say it."""

    def load(self, cache: Cache, say: Callable[[str], None]) -> torch.nn.Module:
        """Make the model, in evaluation mode on the CPU.

        Args:
            cache: keeps what is costly to make, such as trained weights.
            say: takes one line about what is being done.
        """
        raise TypeError(f"{type(self).__name__} loads nothing")

    def random(self) -> tuple[str, ...]:
        """The names of the weights that nothing but chance has set, once it is loaded."""
        return ()

    def files(self) -> list[Path]:
        """The files and folders that the model is read from: those that the section names."""
        return [value for value in dict(self).values() if isinstance(value, Path)]

    def for_task(self, task: str) -> Source:
        """Return the source as the recipe's task needs it; ValueError where it can't be."""
        return self

    def bring(
        self, module: torch.nn.Module, out: Path, own: Mapping[str, object]
    ) -> Mapping[str, object]:
        """Write the files that come with the model and travel with it: a tokenizer, labels.

        Args:
            module: what `load` returned.
            out: an existing folder.
            own: the recipe's `handler:` section.

        Returns:
            Settings for the recipe's `handler:` section, where it doesn't say them.
        """
        return {}

    def untouched(
        self, instances: Sequence[object], handler: Mapping[str, object], say: Callable[[str], None]
    ) -> Untouched | None:
        """What the model says where its own library reads, prepares and runs it.

        Args:
            instances: of the task, each as one is in a request.
            handler: the recipe's `handler:` section, with what `bring` has returned.
            say: takes one line about what is being done.

        Returns:
            None where nobody but the user knows; see `evaluation.expected`.
        """
        return None


class Training(Section):
    """How passes train: fine-tuning after pruning, distillation, quantisation-aware training."""

    data: Reference
    """Returns a map-style Dataset; an item is (inputs, target), inputs one tensor or a tuple.
    LiveData may use torch's random numbers, which differ from epoch to epoch and are the same in
    every run."""
    loss: Reference = "torch.nn.functional:cross_entropy"
    """Takes the model's outputs and the targets of a batch, gives a scalar."""
    epochs: int = Field(5, ge=1)
    """How often a pass sees all of the data."""
    batch_size: int = Field(64, ge=1)
    """Of all processes together; an epoch leaves out what doesn't fill a batch."""
    learning_rate: float = Field(1e-3, gt=0)
    """The highest of a cosine schedule, with AdamW."""
    weight_decay: float = Field(1e-2, ge=0)
    """AdamW's."""
    seed: int = 0
    """Of what is drawn at random, the order of the data among it."""
    workers: int = Field(0, ge=0)
    """Processes that read data ahead, for each process that trains."""


class Pass(Section):
    """A change made to the module before conversion; a subclass in each file of passes/."""

    def apply(
        self, module: torch.nn.Module, work: Work
    ) -> tuple[torch.nn.Module, Mapping[str, object]]:
        """Change a module.

        Args:
            module: in evaluation mode on the CPU; may be changed in place.
            work: what the pass trains and compares with.

        Returns:
            The changed module, in evaluation mode, and what to report about it.
        """
        raise TypeError(f"{type(self).__name__} does nothing")

    def source(self, before: Source) -> Source:
        """Where the changed module's code comes from; a student's own, after distillation."""
        return before


class TrainedPass(Pass):
    """A pass that trains the module that it has changed."""

    epochs: int | None = Field(None, ge=0)
    """Of training after the change; 0 for none. By default the `training:` section's."""
    learning_rate: float | None = Field(None, gt=0)
    """By default the `training:` section's."""


class Evaluation(Section):
    """Held-out data, and what a good answer is."""

    data: Reference | InstanceOf[LiveData]
    """Returns (request body: bytes, expected answer) pairs, or bodies alone; or an `.npz` or `.npy`
    file, relative to the recipe, whose rows are the instances."""
    expected: Reference | None = None
    """Takes all bodies, and returns what the user's own code says to each of them: what a client is
    to get, or a part of it, or the model's outputs, as an array, or arrays by name; or a file of
    these. What the original, behind the handler, says otherwise refuses the build."""
    tolerance: float = Field(1e-3, gt=0)
    """How far numbers may be from `expected`; beyond 1, relatively."""
    metric: str | None = None
    """A function of `marsmith.verify.metrics`, or a "module:function" (answers, expected) -> float.
    Without one, only the outputs are compared."""


class Calibration(Section):
    """Data that static quantisation takes its ranges from; it should not be the evaluation's."""

    data: Reference | InstanceOf[LiveData]
    """Returns request bodies: bytes, or (bytes, anything) pairs; or a file, as above."""
    samples: int = Field(256, ge=1)
    """How many of them to use, from the first on."""


class Conversion(Section):
    """How the model is converted, where there is a choice."""

    trace: bool = False
    """TorchScript: trace a model that can't be scripted. Its control flow is frozen."""
    compile: bool = False
    """Eager: `torch.compile` the module as a worker starts, which needs a C++ compiler there."""
    portable: bool = False
    """int8 in onnx and openvino: make it for any CPU, with 7 bits of each weight, where this one
    has VNNI and could have 8."""


class Accept(Section):
    """The bounds that a candidate must keep to be shipped."""

    metric_at_least: float | None = None
    """The metric of the shipped archive."""
    metric_max_drop: float = Field(0.01, ge=0)
    """How much the metric may fall below the original model's."""
    max_abs_error: float | None = Field(None, gt=0)
    """The largest difference of any output from the original's."""
    min_cosine: float = Field(0.99, ge=-1, le=1)
    """The smallest cosine similarity of a sample's outputs to the original's."""


DECIDED = ("task", "runtime", "precision", "runtime_options", "instructions")
"""Settings of a handler that the rest of a recipe decides."""

USUAL_RESPONSE_S = 60  # where nothing was measured


class Serving(Section):
    """How TorchServe runs the archive: becomes the top of its `model-config.yaml`."""

    batch_size: int = Field(1, ge=1, le=65_536)
    """The most requests that a worker answers together."""
    max_batch_delay_ms: int = Field(1, ge=1, le=1_000_000)
    """How long a batch waits to fill; TorchServe turns 0 into 100."""
    min_workers: int = Field(1, ge=1, le=1024)
    """Processes that each have the model, when the server starts."""
    worker_per_core: bool | None = None
    """`marsmith serve` starts a worker for each core of its machine, up to `max_workers`, instead
    of `min_workers` that share the cores. By default where the build chooses among candidates, and
    has measured that these answer a quarter more."""
    max_workers: int = Field(4, ge=1, le=1024)
    """How far `marsmith scale` may go."""
    response_timeout_s: int | None = Field(None, ge=1, le=1_000_000)
    """A worker that takes longer for a batch is killed and started anew. By default ten times what
    the build measured, and never so little that it would cut what the task's own bounds allow."""
    startup_timeout_s: int = Field(120, ge=1, le=1_000_000)
    """Loading and warm-up together."""
    job_queue_size: int = Field(256, ge=1, le=1_000_000)
    """Requests of the model that may be on their way; one more is refused at once with a 503."""
    queue_timeout_s: float | None = Field(None, gt=0, le=1_000_000)
    """How long a request may wait for its turn; who would wait longer is refused at once. By
    default `response_timeout_s`."""
    max_body_bytes: int = Field(20_971_520, ge=1, le=20_971_520)
    """Of one request; TorchServe's own limit is 20 MiB."""
    device: Literal["cpu", "gpu"] = "cpu"
    """Where the model is verified and timed by the build, and runs on each server."""
    continuous_batching: bool = False
    """New requests join those that are being answered, and a request ends when its client hangs up;
    for tasks that write token by token, on one worker."""

    @model_validator(mode="after")
    def _alone(self) -> Serving:
        if self.continuous_batching and (self.min_workers, self.max_workers) != (1, 1):
            raise ValueError(
                "with continuous_batching, min_workers and max_workers must be 1: an idle worker"
                " of TorchServe's keeps the others waiting"
            )
        return self

    @model_validator(mode="after")
    def _either(self) -> Serving:
        if self.worker_per_core and self.min_workers > 1:
            raise ValueError("worker_per_core and min_workers are two ways to say one thing")
        return self

    @model_validator(mode="after")
    def _order(self) -> Serving:
        if self.max_workers < self.min_workers:
            raise ValueError(f"max_workers must be at least min_workers, {self.min_workers}")
        return self


class Recipe(Section):
    """One model, from its source to its archive."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=200)
    """The model's and the archive's."""
    version: str = Field("1.0", pattern=r"^[A-Za-z0-9_.-]+$")
    """The archive's; a server may have two of a model while one is rolled out."""
    task: str
    """A module of `handlers`, or "module:Class" of one's own, whose file or whole package travels
    in the archive."""
    source: Source
    """Where the model comes from."""
    runtime: str = "torchscript"
    """A module of `handlers.runtimes`, by default the source's own; or "auto": the best of the
    candidates."""
    precision: Precision = "fp32"
    """Of the runtime; int8 is calibrated, int8_dynamic finds ranges as it runs, int8_weight and
    int4_weight round weights only."""
    candidates: tuple[str, ...] = ()
    """With "auto": each "runtime:precision" or "runtime", either of which may be "all"."""
    objective: Objective = "throughput"
    """What decides, with "auto": the time of one request, requests per second, or bytes."""
    passes: tuple[Pass, ...] = ()
    """Changes made to the module before conversion, in this order."""
    training: Training | None = None
    handler: dict[str, object] = {}
    """The task's settings; see its `Config`."""
    files: tuple[Path, ...] = ()
    """Files and folders that travel in the archive, beside the model; relative to the recipe."""
    assets: Reference | None = None
    """Takes the trained module and an empty folder, and writes more files that travel into it:
    a vocabulary, a scaling, a catalogue."""
    requirements: tuple[str, ...] = ()
    """Further packages that a handler of one's own needs where it serves, each a pin, such as
    "rapidfuzz==3.14.6": those that are installed as the archive is built."""
    conversion: Conversion = Conversion()
    calibration: Calibration | None = None
    evaluation: Evaluation | None = None
    accept: Accept = Accept()
    serving: Serving = Serving()

    @model_validator(mode="before")
    @classmethod
    def _of_the_source(cls, data: object) -> object:
        if isinstance(data, dict) and isinstance(source := data.get("source"), Source):
            return {"runtime": source.RUNTIME, **data}
        return data

    @field_validator("source")
    @classmethod
    def _of_the_task(cls, source: Source, info: ValidationInfo) -> Source:
        return source.for_task(info.data.get("task", ""))

    @field_validator("requirements")
    @classmethod
    def _pinned(cls, requirements: tuple[str, ...]) -> tuple[str, ...]:
        for each in requirements:
            if not PIN.fullmatch(each):
                raise ValueError(f"{each!r} must be a pin, such as rapidfuzz==3.14.6")
        names = [name for name, _ in map(split_pin, requirements)]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{', '.join(sorted(twice))} must be named once")
        return requirements

    @field_validator("handler")
    @classmethod
    def _said_once(cls, handler: dict[str, object]) -> dict[str, object]:
        for key in DECIDED:
            if key in handler:
                raise ValueError(f"{key!r} is decided by the rest of the recipe")
        return handler

    @model_validator(mode="after")
    def _measurable(self) -> Recipe:
        if self.accept.metric_at_least is not None and not (
            self.evaluation and self.evaluation.metric
        ):
            raise ValueError("accept.metric_at_least needs an 'evaluation' with a metric")
        if self.runtime != "auto" and self.candidates:
            raise ValueError("'candidates' are for 'runtime: auto'")
        if self.runtime == "auto" and self.precision != "fp32":
            raise ValueError("with 'runtime: auto', 'candidates' say which precisions to try")
        return self

    @field_validator("name")
    @classmethod
    def _servable(cls, name: str) -> str:
        if name.startswith("token"):
            raise ValueError("TorchServe takes requests for models named token... for its own API")
        return name

    _path: Path | None = PrivateAttr(None)

    @property
    def file(self) -> Path | None:
        """The file that it was read from."""
        return self._path

    @property
    def path(self) -> Path:
        """The file that it was read from; if there is none, the one that it could be in."""
        return self._path or Path("archiver_configs", f"{self.name}.yaml")

    @property
    def handler_section(self) -> dict[str, object]:
        """The `handler:` section of the archive's `model-config.yaml`, without the runtime."""
        return {"task": self.task, **self.handler}
