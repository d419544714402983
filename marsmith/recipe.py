"""Recipe: what a YAML file in `archiver_configs/` may say. Typed, frozen, unknown keys refused."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from handlers import runtimes, tasks
from handlers.errors import LoadError
from handlers.schema import SchemaError, unknown
from marsmith import sources
from marsmith.errors import RecipeError
from marsmith.references import here_on_path

Reference = str
"""A "module:function"."""

Precision = Literal["fp32", "bf16", "fp16", "int8", "int8_dynamic"]
"""int8 is static, calibrated; int8_dynamic takes the ranges of activations as they come."""


class Section(BaseModel):
    """A part of a recipe: frozen, and refusing what it doesn't know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Source(Section):
    """Where the model comes from; a subclass in each file of `marsmith/sources/`."""

    def load(self, cache: Path, say: Callable[[str], None]) -> Any:
        """Make the model, an `nn.Module` in evaluation mode on the CPU.

        Args:
            cache: a folder for what is costly to make, such as trained weights.
            say: takes one line about what is being done.
        """
        raise TypeError(f"{type(self).__name__} loads nothing")


class Training(Section):
    """How passes train: fine-tuning after pruning, distillation, quantisation-aware training."""

    data: Reference
    """Returns a map-style Dataset; an item is (inputs, target), inputs one tensor or a tuple."""
    loss: Reference = "torch.nn.functional:cross_entropy"
    """Takes the model's outputs and the targets of a batch, gives a scalar."""
    epochs: int = Field(5, ge=1)
    batch_size: int = Field(64, ge=1)
    """Of all processes together."""
    learning_rate: float = Field(1e-3, gt=0)
    """The highest, of AdamW on a cosine schedule."""
    weight_decay: float = Field(1e-2, ge=0)
    seed: int = 0


class Pass(Section):
    """A change made to the module before conversion; a subclass in each file of passes/."""

    def apply(self, module: Any, work: Any) -> Any:
        """Change a module.

        Args:
            module: an `nn.Module` in evaluation mode on the CPU; may be changed in place.
            work: a `marsmith.passes.Work`.

        Returns:
            The changed module, in evaluation mode, and what there is to report of it.
        """
        raise TypeError(f"{type(self).__name__} does nothing")

    def source(self, before: Source) -> Source:
        """Where the changed module's code comes from; a student's own, after distillation."""
        return before


class Evaluation(Section):
    """Held-out data, and what a good answer is."""

    data: Reference
    """Returns a list of (request body: bytes, expected answer) pairs."""
    metric: str = "accuracy"
    """A function of `marsmith.metrics`, or a "module:function" (answers, expected) -> float."""


class Calibration(Section):
    """Data that static quantisation takes its ranges from; best not the evaluation's."""

    data: Reference
    """Returns request bodies: bytes, or (bytes, anything) pairs."""
    samples: int = Field(256, ge=1)
    """How many of them, from the first."""


class Conversion(Section):
    """How the model is converted, where there is a choice."""

    trace: bool = False
    """TorchScript: trace a model that can't be scripted. Its control flow is frozen."""
    compile: bool = False
    """Eager: `torch.compile` the module as a worker starts, which needs a C++ compiler there."""


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


class Serving(Section):
    """How TorchServe runs the archive: becomes the top of its `model-config.yaml`."""

    batch_size: int = Field(1, ge=1)
    max_batch_delay_ms: int = Field(1, ge=1)
    """How long a batch waits to fill; TorchServe turns 0 into 100."""
    min_workers: int = Field(1, ge=1)
    max_workers: int = Field(4, ge=1)
    response_timeout_s: int = Field(60, ge=1)
    """A worker that takes longer for a batch is killed and started anew."""
    startup_timeout_s: int = Field(120, ge=1)
    """Loading and warm-up together."""
    job_queue_size: int = Field(256, ge=1)
    """Requests beyond this many are refused at once with a 503."""
    device: Literal["cpu", "gpu"] | None = None
    """Where workers run; by default on GPUs when there are any."""

    @model_validator(mode="after")
    def _order(self) -> Serving:
        if self.max_workers < self.min_workers:
            raise ValueError(f"max_workers must be at least min_workers, {self.min_workers}")
        return self


class Recipe(Section):
    """One model, from its source to its archive."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    """The model's and the archive's."""
    version: str = Field("1.0", pattern=r"^[A-Za-z0-9_.-]+$")
    task: str
    """A module of `handlers`, or "module:Class" of one's own."""
    source: Source
    runtime: str = "torchscript"
    """A module of `handlers.runtimes`."""
    precision: Precision = "fp32"
    handler: dict[str, Any] = {}
    """The task's settings; see its `Config`."""
    files: tuple[Path, ...] = ()
    """Files that travel in the archive, beside the model; relative to the recipe."""
    conversion: Conversion = Conversion()
    calibration: Calibration | None = None
    evaluation: Evaluation | None = None
    accept: Accept = Accept()
    serving: Serving = Serving()

    @field_validator("handler")
    @classmethod
    def _said_once(cls, handler: dict[str, Any]) -> dict[str, Any]:
        for key in ("task", "runtime", "precision", "runtime_options"):
            if key in handler:
                raise ValueError(f"{key!r} is decided by the rest of the recipe")
        return handler

    @model_validator(mode="after")
    def _measurable(self) -> Recipe:
        if self.accept.metric_at_least is not None and self.evaluation is None:
            raise ValueError("accept.metric_at_least needs an 'evaluation' to measure")
        return self

    @field_validator("name")
    @classmethod
    def _servable(cls, name: str) -> str:
        if name.startswith("token"):
            raise ValueError("TorchServe takes requests for models named token... for its own API")
        return name

    @property
    def handler_section(self) -> dict[str, Any]:
        """The `handler:` section of the archive's `model-config.yaml`."""
        known = {"task": self.task, "runtime": self.runtime, "precision": self.precision}
        return {**known, **self.handler}


def load(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        RecipeError: no such file, not YAML, or something in it that isn't allowed; the message
            names the key, and the nearest that is.
    """
    try:
        data = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise RecipeError(f"the recipe {path} can't be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not YAML: {error}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"{path} must be a mapping of settings")
    try:
        recipe = Recipe.model_validate(
            {**data, "source": _source(data.get("source"), path), "files": _files(data, path)}
        )
        here_on_path()
        tasks.find(recipe.task).settings(recipe.handler_section)
    except ValidationError as error:
        raise RecipeError("\n".join(_explain(each, path) for each in error.errors())) from None
    except (LoadError, SchemaError) as error:
        raise RecipeError(f"{path.name}: {error}") from None
    known = runtimes.known()
    if recipe.runtime not in known:
        raise RecipeError(f"{path.name}: {unknown(recipe.runtime, known, 'the runtimes')}")
    return recipe


def _source(data: Any, path: Path) -> Source:
    known = sorted(module.name for module in pkgutil.iter_modules(sources.__path__))
    if not isinstance(data, dict):
        raise RecipeError(f"{path.name}: 'source' must be a mapping with one of {', '.join(known)}")
    named = [key for key in data if key in known]
    if len(named) != 1:
        guess = [m for key in data for m in difflib.get_close_matches(str(key), known, n=1)]
        hint = f"did you mean {guess[0]!r}?" if guess else ""
        raise RecipeError(
            f"{path.name}: 'source' must name one of {', '.join(known)}; it has {list(data)}", hint
        )
    kind: type[Source] = importlib.import_module(f"marsmith.sources.{named[0]}").Source
    if isinstance(data.get("checkpoint"), str):
        data = {**data, "checkpoint": path.parent / data["checkpoint"]}
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        lines = (_explain(each, path, "source", kind) for each in error.errors())
        raise RecipeError("\n".join(lines)) from None


def _files(data: dict[str, Any], path: Path) -> tuple[Path, ...]:
    names = data.get("files", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RecipeError(f"{path.name}: 'files' must be a list of paths")
    files = tuple(path.parent / name for name in names)
    for file in files:
        if not file.is_file():
            raise RecipeError(f"{path.name}: 'files' names {file}, which is no file")
    return files


def _explain(error: Any, path: Path, prefix: str = "", model: type[Section] = Recipe) -> str:
    where = ".".join(str(part) for part in ((prefix,) if prefix else ()) + tuple(error["loc"]))
    if error["type"] == "extra_forbidden":
        *parents, key = error["loc"]
        for parent in parents:
            annotation = model.model_fields[str(parent)].annotation
            kinds = [annotation, *get_args(annotation)]
            model = next(each for each in kinds if isinstance(each, type))
        section = ".".join(filter(None, [prefix, *map(str, parents)])) or path.name
        return f"{path.name}: {unknown(str(key), list(model.model_fields), section)}"
    return f"{path.name}: {where}: {error['msg'][0].lower()}{error['msg'][1:]}"
