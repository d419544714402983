"""Tensors: any model's named tensors in, its named tensors out; state from request to request."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from handlers import base
from handlers.errors import BadRequest, LoadError, ModelError
from handlers.protocols import base64_text
from handlers.protocols.exchange import Exchange
from handlers.protocols.tensors import DATATYPES
from handlers.runtimes import Tensors
from handlers.schema import JsonObject, setting, unknown
from handlers.task import Config, NoOptions, Sample, stack
from handlers.tensors import numpy_files, spec
from handlers.tensors.answer import NamedTensors, answers_of
from handlers.tensors.sequences import Sequences

EXAMPLE = "example.npz"


@dataclass(frozen=True, kw_only=True)
class TensorsConfig(Config):
    """What the model takes and gives; what the recipe leaves out is read from the model."""

    inputs: dict[str, object] | None = setting(
        None, "By name: datatype, shape without the batch, default, from_output, context."
    )
    outputs: dict[str, object] | None = setting(None, "By name: datatype, shape without the batch.")
    answered: tuple[str, ...] | None = setting(
        None, "The outputs that are answered; by default all, but not a sequence's state."
    )
    batched: bool = setting(True, "Whether the model takes many instances at once.")
    max_sequences: int = setting(
        1000, "The most sequences whose state is kept at a time.", minimum=1
    )
    sequence_idle_s: float = setting(
        600.0, "How long a sequence is kept that nobody asks for, in seconds.", minimum=0
    )


@dataclass(frozen=True, kw_only=True)
class TensorsOptions:
    """The options of a request: of models with state, which of their sequences it belongs to."""

    sequence_id: str | int | None = setting(
        None,
        "The sequence, chosen by the client: its state is kept from request to request. These"
        " options may be headers: X-Sequence-Id, -Start, -End, -Index.",
    )
    sequence_start: bool = setting(False, "Begin the sequence, anew if there is one.")
    sequence_end: bool = setting(False, "This is its last request.")
    sequence_index: int | None = setting(
        None, "The request's place in it, from 0: one that is sent again is answered as before.",
        minimum=0,
    )  # fmt: skip


Asked = TensorsOptions | NoOptions  # a model that keeps nothing has none
_Sample = Sample[Asked, None]


class NamedTensorsHandler(base.Handler[TensorsConfig, Asked, None]):
    """Serves a model by the names of its tensors.

    An instance is an object of names and values: nested lists, numbers, arrays; with one input that
    must be given, its value alone; or an `.npy` or `.npz` file of them. It has no batch dimension.
    """

    Config = TensorsConfig
    Options: type[TensorsOptions | NoOptions] = TensorsOptions
    Answer = NamedTensors
    option_headers = {
        each.name: f"x-{each.name.replace('_', '-')}" for each in fields(TensorsOptions)
    }

    def setup(self, folder: Path) -> None:
        """Read the specifications, and the example."""
        if not self.config.inputs:
            raise LoadError(
                "it is not known what the model takes",
                hint="say it: handler: {inputs: {NAME: {shape: [3, frames], datatype: FP32}}}",
            )
        self.inputs = spec.read(self.config.inputs)
        self.outputs = spec.read_outputs(self.config.outputs or {})
        self.states = {n: s.from_output for n, s in self.inputs.items() if s.from_output}
        self.contexts = {n: s.context for n, s in self.inputs.items() if s.context}
        for name in (*self.states.values(), *(self.config.answered or ())):
            if self.outputs and name not in self.outputs:
                raise LoadError(unknown(name, list(self.outputs), "handler.outputs"))
        self.parts = tuple(self.inputs)
        self.required = [name for name, each in self.inputs.items() if not each.optional]
        self.sequences = Sequences(self.config.max_sequences, self.config.sequence_idle_s)
        hidden = set(self.states.values()) if self.config.answered is None else set()
        kept = [n for n in self.config.answered or self.outputs if n in {*self.outputs} - hidden]
        self.Answer = answers_of({name: self.outputs[name] for name in kept})
        file = folder / EXAMPLE
        if not self.stateful:
            self.Options, self.default_options = NoOptions, NoOptions()
        self._example = file.read_bytes() if file.is_file() else None

    @property
    def stateful(self) -> bool:
        """Whether something is kept between the requests of a sequence."""
        return bool(self.states or self.contexts)

    def read(self, exchange: Exchange) -> None:
        """Read a row; refuse what it says of a sequence where there can be none."""
        super().read(exchange)
        if exchange.open:
            try:
                self._check_sequence(exchange.options, len(exchange.instances))
            except BadRequest as error:
                exchange.fail(error)

    def _check_sequence(self, options: Asked, count: int) -> None:
        if not isinstance(options, TensorsOptions) or options == self.default_options:
            return
        if options.sequence_id is None:
            raise BadRequest("say which sequence it is: 'sequence_id'", status=422)
        if count > 1:
            raise BadRequest(
                f"{count} instances in one request of a sequence, where they follow each other",
                hint="send one after the other",
                status=422,
            )

    def decode(self, instance: object, options: Asked) -> _Sample:
        """Convert an instance to the model's inputs; state that it doesn't give is at its start."""
        given = self._named(instance)
        for name in given:
            if name not in self.inputs:
                raise BadRequest(unknown(name, list(self.inputs), "the inputs"), status=422)
            if name in self.states and _sequence(options):
                raise BadRequest(
                    f"input {name[:80]!a} is kept for the sequence", hint="leave it out", status=422
                )
        if missing := [name for name in self.required if name not in given]:
            raise BadRequest(
                f"there is no input {missing[0][:80]!a}; needed: {', '.join(self.required)[:500]}",
                status=422,
            )
        sizes: dict[str, int] = {}
        arrays = {name: self.inputs[name].fitted(name, each, sizes) for name, each in given.items()}
        whole = {n: arrays[n] if n in arrays else s.initial(sizes) for n, s in self.inputs.items()}
        # A copy, because an array may be a view of the request.
        tensors = {name: torch.from_numpy(np.array(each)) for name, each in whole.items()}
        return Sample(tensors, options, None)

    def _named(self, instance: object) -> Mapping[str, object]:
        if isinstance(instance, str):
            instance = base64_text.from_base64(instance)
        if isinstance(instance, bytes):
            instance = numpy_files.read(instance)
        elif isinstance(instance, np.ndarray):
            raise BadRequest(
                f"no input has that name; they are: {', '.join(self.inputs)}"[:1000], status=422
            )
        if isinstance(instance, dict):
            return {
                name: self._file(base64_text.unwrap(value))
                if isinstance(value, (dict, str))
                else value
                for name, value in instance.items()
            }
        if len(self.required) != 1:
            raise BadRequest(
                f"an instance must be an object of the inputs: {', '.join(self.inputs)}"[:1000],
                status=422,
            )
        return {self.required[0]: instance}

    @staticmethod
    def _file(value: object) -> object:
        """An array that came as a file, in base64 or not."""
        found = base64_text.encoded(value, "an input that is not a list")
        array = numpy_files.read(found)
        if isinstance(array, dict):
            raise BadRequest("an input must be one array: an .npy, not an .npz", status=422)
        return array

    def collate(self, samples: Sequence[Sample[object, None]]) -> Tensors:
        """Stack what samples have, with the state of their sequences."""
        return stack([self._with_state(sample) for sample in samples])

    def _with_state(self, sample: Sample[object, None]) -> Tensors:
        state = self._state(sample)
        found = {name: state.get(name, tensor) for name, tensor in sample.tensors.items()}
        before = {
            name: self._with_before(name, sample.tensors[name], state) for name in self.contexts
        }
        return {**found, **before}

    def _with_before(self, name: str, tensor: torch.Tensor, state: Tensors) -> torch.Tensor:
        """An input behind the end of the sequence's last one; behind zeros at its start."""
        before = state.get(name, tensor.new_zeros((*tensor.shape[:-1], self.contexts[name])))
        if before.shape[:-1] != tensor.shape[:-1]:
            raise BadRequest(
                f"input {name[:80]!a} must have the shape that its sequence began with", status=422
            )
        return torch.cat([before, tensor], dim=-1)

    def _state(self, sample: Sample[object, None]) -> Tensors:
        options = _sequence(sample.options)
        if options is None:
            return {}
        if options.sequence_start:
            self.sequences.begin(str(options.sequence_id))
            return {}
        return self.sequences.find(str(options.sequence_id), options.sequence_index)

    def inference(self, batch: Tensors) -> Tensors:
        """Run the model on a batch, which is never longer than it may be.

        Raises:
            ModelError: it lacks an output that is needed, or one has no row for each instance.
        """
        outputs = super().inference(batch)
        rows = len(next(iter(batch.values())))
        for name in (*self.states.values(), *self.outputs):
            if name not in outputs:
                raise ModelError(f"the model gives {', '.join(outputs)}, and no {name!r}")
        for name, tensor in outputs.items():
            if tensor.ndim == 0 or len(tensor) != rows:
                raise ModelError(
                    f"output {name!r} of {rows} instances is {tuple(tensor.shape)}: it has no row"
                    " for each of them"
                )
        return outputs

    def answer(self, outputs: Tensors, samples: Sequence[_Sample]) -> list[NamedTensors]:
        """Answer each instance's row of the outputs, and keep the state of sequences."""
        answered = self.config.answered or tuple(outputs)
        arrays = {name: _array(outputs[name]) for name in answered}
        hidden = set(self.states.values()) - set(self.config.answered or ())
        answers = []
        for row, sample in enumerate(samples):
            left_out = hidden if _sequence(sample.options) else set()
            named = {n: np.asarray(a[row]) for n, a in arrays.items() if n not in left_out}
            answers.append(self.Answer(named))
        for row, sample in enumerate(samples):
            if options := _sequence(sample.options):
                self._keep(sample, options, {name: each[row] for name, each in outputs.items()})
        return answers

    def _keep(self, sample: _Sample, options: TensorsOptions, outputs: Tensors) -> None:
        identity, index = str(options.sequence_id), options.sequence_index
        before = {} if options.sequence_start else self.sequences.find(identity, index)
        state = {name: outputs[output].clone() for name, output in self.states.items()}
        for name, count in self.contexts.items():
            whole = self._with_before(name, sample.tensors[name], before)
            state[name] = whole[..., -count:].clone()
        self.sequences.keep(identity, before, state, index, options.sequence_end)

    def turns(self, samples: Sequence[Sample[object, None]]) -> list[list[int]]:
        """Requests of one sequence one after the other, all others in the first turn."""
        seen: dict[str, int] = defaultdict(int)
        found: list[list[int]] = [[]]
        for place, sample in enumerate(samples):
            turn, options = 0, _sequence(sample.options)
            if options:
                turn = seen[str(options.sequence_id)]
                seen[str(options.sequence_id)] += 1
            if turn == len(found):
                found.append([])
            found[turn].append(place)
        return found

    def example(self) -> tuple[str, bytes]:
        """The one that travels in the archive, or numbers of chance, the same ones every time."""
        if self._example is None:
            random = np.random.default_rng(0)
            arrays = {name: _random(self.inputs[name], random) for name in self.required}
            self._example = numpy_files.write(arrays)
        return numpy_files.NPZ, self._example

    def instance_schema(self) -> JsonObject:
        """The inputs by name: nested lists, or a file in base64."""
        return spec.input_schema(self.inputs)

    def describe_input(self) -> dict[str, object]:
        """The inputs, without the batch dimension."""
        return {
            "tensors": {
                name: {
                    "datatype": each.datatype,
                    "shape": list(each.shape),
                    "optional": each.optional,
                    **({"state_from": each.from_output} if each.from_output else {}),
                    **({"context": each.context} if each.context else {}),
                }
                for name, each in self.inputs.items()
            },
            "files": "an .npy of the one input, or an .npz of several by name",
        }

    def varying_axes(self) -> dict[str, tuple[int, ...]]:
        """The axes whose sizes have names instead of numbers."""
        axes = {
            name: tuple(axis for axis, size in enumerate(each.shape, 1) if isinstance(size, str))
            for name, each in self.inputs.items()
        }
        return {name: found for name, found in axes.items() if found}


def _sequence(options: object) -> TensorsOptions | None:
    """The options of a request that belongs to a sequence."""
    named = isinstance(options, TensorsOptions) and options.sequence_id is not None
    return options if named else None  # type: ignore[return-value]  # named says that


def _array(tensor: torch.Tensor) -> spec.Array:
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy(force=True)


def _random(each: spec.InputSpec, random: np.random.Generator) -> spec.Array:
    shape = [size if isinstance(size, int) else 1 for size in each.shape]
    dtype = np.dtype(DATATYPES[each.datatype])
    if dtype.kind == "f":
        return np.asarray(random.standard_normal(shape)).astype(dtype)
    return np.asarray(random.integers(0, 2, shape)).astype(dtype)
