"""What a task is: what it takes, how that becomes tensors, and what it answers. No TorchServe.

A handler is a task with a worker around it; see `base`.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar, get_type_hints

import torch

from handlers.errors import LoadError
from handlers.runtimes import Tensors
from handlers.schema import (
    Json,
    JsonObject,
    SchemaError,
    object_schema,
    parse,
    setting,
    type_schema,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SHORT = 32  # tokens, or items; below this, padding costs less than another run of the model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The settings that every task's `handler:` section in a `model-config.yaml` may have."""

    task: str = setting("", "The task: a module of handlers.tasks.")
    runtime: str = setting("torchscript", "What executes the model: a module of handlers.runtimes.")
    precision: str = setting("fp32", "The model's precision, for people: the model file has it.")
    runtime_options: dict[str, object] | None = setting(
        None, "Passed to the runtime's load, by name."
    )
    instructions: tuple[str, ...] = setting(
        (), "Those that the model was made for; a CPU that lacks one is warned of."
    )
    threads: int = setting(0, "Threads per worker; 0 means cores ÷ workers.", minimum=0)
    defaults: dict[str, object] | None = setting(None, "The options of requests that set none.")
    max_instances: int = setting(1024, "The most instances in one request.", minimum=1)
    max_inputs: int = setting(
        1000,
        "The most inputs, or outputs, of a v2 request, and fields of a form.",
        minimum=1,
    )
    max_json_bytes: int = setting(20_971_520, "The longest JSON of a request.", minimum=1)
    max_json_values: int = setting(
        4_000_000, "The most values in it; a list counts as 4, a key as 10.", minimum=1
    )
    max_json_depth: int = setting(64, "The most lists and objects within each other.", minimum=1)
    max_answer_bytes: int = setting(
        6_000_000, "The largest answer; less than TorchServe's max_response_size.", minimum=1
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoOptions:
    """The options of a task that has none."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """A task's answer to one instance; a dataclass of plain fields.

    Its fields are the outputs of a v2 answer. `to_json` is what raw and v1 send, and
    `schema` describes that. A raw request may also be answered in one of `media_types`.

    Attributes:
        media_types: what `encode` can write, besides JSON.
        usually_encoded: whether a client that takes anything gets the first of them, not JSON.
        ragged: the fields that are lists of one length, which differs from answer to answer, and
            the shape of an item of each. A v2 answer has the items of all instances one after
            the other, and the output `counts` says how many each instance has.
    """

    media_types: ClassVar[tuple[str, ...]] = ()
    usually_encoded: ClassVar[bool] = False
    ragged: ClassVar[Mapping[str, tuple[int, ...]]] = {}

    def encode(self, media_type: str) -> bytes:
        """The answer in one of `media_types`."""
        raise NotImplementedError(media_type)

    def parts(self) -> dict[str, object]:
        """What it is made of, by name: the outputs of a v2 answer."""
        return vars(self)

    def to_json(self) -> Json:
        """The answer as plain JSON data."""
        return dict(vars(self))  # not `asdict`, which copies every item of every list

    @classmethod
    def schema(cls) -> JsonObject:
        """The JSON Schema of what `to_json` returns."""
        return object_schema(cls.field_schemas())

    @classmethod
    def field_schemas(cls) -> dict[str, JsonObject]:
        """The JSON Schema of each field, by its name."""
        hints = get_type_hints(cls)
        return {field.name: type_schema(hints[field.name]) for field in dataclasses.fields(cls)}


Answered = Sequence[Answer]
"""One answer for each of some samples, in their order."""

C = TypeVar("C", bound=Config)
O = TypeVar("O")  # noqa: E741 - of the three parameters of a task, the options
M = TypeVar("M")
O_co = TypeVar("O_co", covariant=True)
M_co = TypeVar("M_co", covariant=True)


@dataclasses.dataclass(frozen=True)
class Sample(Generic[O_co, M_co]):
    """One decoded instance.

    Attributes:
        tensors: the model's inputs by name, without the batch dimension.
        options: the request's options, validated.
        meta: what the task needs besides the model's outputs, to answer: an image's original
            size, for example.
    """

    tensors: Tensors
    options: O_co
    meta: M_co


class Task(ABC, Generic[C, O, M]):
    """What a task writes: its settings, options and answers, and the way from one to the other.

    The three parameters are its `Config`, its `Options`, and the `meta` of its samples.

    Attributes:
        Config: the dataclass of the task's settings.
        Options: the dataclass of what a request may ask for.
        Answer: the dataclass of what is answered for one instance.
        parts: the names of an instance's parts, where it has several; form fields are named so.
        option_headers: the HTTP headers, in lower case, that give options, too, by those' names.
        config: the settings of this archive.
        default_options: the options of requests that set none.
    """

    Config: ClassVar[type[Config]] = Config
    Options: type[DataclassInstance] = NoOptions
    Answer: type[Answer]
    parts: tuple[str, ...] = ()
    option_headers: ClassVar[Mapping[str, str]] = {}

    config: C
    default_options: O

    @property
    def stateful(self) -> bool:
        """Whether a worker keeps something from request to request that later ones need."""
        return False

    def setup(self, folder: Path) -> None:
        """Read what the task needs from the archive's folder: labels, a tokenizer.

        Raises:
            LoadError: something is missing or wrong.
        """

    def screen(self, instances: Sequence[object]) -> None:
        """Refuse a request whose instances are too much together, before any is decoded.

        Raises:
            BadRequest: decoding it would take too long or too much memory.
        """

    @abstractmethod
    def decode(self, instance: object, options: O) -> Sample[O, M]:
        """Convert one instance to the model's inputs, without the batch dimension.

        Args:
            instance: bytes, a string, JSON data, or a numpy array; see `ParsedRequest`.
            options: the request's.

        Raises:
            BadRequest: the instance can't be served; only its own request is refused.
        """

    def collate(self, samples: Sequence[Sample[object, M]]) -> Tensors:
        """Combine samples of one `group_key` into a batch."""
        return stack([sample.tensors for sample in samples])

    def preparation(self) -> Mapping[str, torch.nn.Module]:
        """What a build puts before the model, by input: a module from what `collate` makes of it.

        Where there is something, `prepared` computes the same outside the model.
        """
        return {}

    def prepared(self, batch: Tensors) -> Tensors:
        """What the recipe's own module takes, of what `collate` makes; by default, the same."""
        return batch

    @abstractmethod
    def answer(self, outputs: Tensors, samples: Sequence[Sample[O, M]]) -> Answered:
        """Turn the model's outputs for a batch into one answer per sample."""

    @abstractmethod
    def example(self) -> tuple[str, bytes]:
        """The media type and body of a request that can be served: for warm-up and describe."""

    @abstractmethod
    def describe_input(self) -> dict[str, object]:
        """Describe what an instance may be, for people and programs."""

    def instance_schema(self) -> JsonObject:
        """The JSON Schema of an instance in JSON; by default, of anything."""
        return {}

    def group_key(self, sample: Sample[object, M]) -> Hashable:
        """The key of samples that can share a batch; by default, of those of equal shapes."""
        return same_shape(sample)

    def turns(self, samples: Sequence[Sample[object, M]]) -> list[list[int]]:
        """The positions of samples that may be run together; turns follow each other."""
        return [list(range(len(samples)))]

    def varying_axes(self) -> dict[str, tuple[int, ...]]:
        """The axes of each input, besides the batch, that differ from request to request."""
        return {}

    def padded_sizes(self, batch: Tensors) -> set[int]:
        """The lengths along which outputs for a batch may go on behind what counts."""
        axes = self.varying_axes().items()
        return {batch[name].shape[axis] for name, varying in axes for axis in varying}

    def typical(self, samples: Sequence[Sample[O, M]]) -> Tensors:
        """The inputs that the model mostly runs on to answer samples; it is timed on them."""
        return self.collate(samples)

    @classmethod
    def settings(cls, section: object) -> tuple[C, O]:
        """The `Config` of a `handler:` section, and the `Options` of requests that set none.

        Raises:
            SchemaError: the section has something in it that isn't allowed.
        """
        config = parse(cls.Config, section, where="the handler section")
        options = parse(cls.Options, config.defaults or {}, where="handler.defaults")
        return config, options  # type: ignore[return-value]  # a ClassVar can't name parameters

    def configure(self, section: object, folder: Path) -> None:
        """Take the `handler:` section and the task's own files; no model and no threads yet.

        Raises:
            LoadError: the section has something in it that isn't allowed, or a file is wrong.
        """
        try:
            self.config, self.default_options = self.settings(section)
        except SchemaError as error:
            raise LoadError(str(error)) from None
        self.setup(folder)


def same_shape(sample: Sample[object, object]) -> Hashable:
    """The names, shapes and dtypes of a sample's tensors: samples of one key can be stacked."""
    return tuple((name, tensor.shape, tensor.dtype) for name, tensor in sample.tensors.items())


def similar_length(length: int) -> int:
    """The key of lengths that can share a batch: padding at most doubles them, or fills SHORT."""
    return max(SHORT, 1 << (length - 1).bit_length())


def stack(rows: Sequence[Tensors]) -> Tensors:
    """Stack tensors of the same names and shapes: each gains a first dimension, the batch."""
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
