"""An answer whose parts are the model's outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from handlers.errors import BadRequest
from handlers.schema import Json, JsonObject
from handlers.task import Answer
from handlers.tensors import numpy_files
from handlers.tensors.spec import Array, OutputSpec, schema


@dataclass(frozen=True, eq=False)
class NamedTensors(Answer):
    """Arrays by name.

    Attributes:
        tensors: by the names of outputs, without the batch.
        specs: what is known of those that any answer has.
    """

    tensors: Mapping[str, Array] = field(default_factory=dict)
    media_types: ClassVar[tuple[str, ...]] = (numpy_files.NPZ, numpy_files.NPY)
    specs: ClassVar[Mapping[str, OutputSpec]] = {}

    def to_json(self) -> Json:
        """Nested lists by name; a tensor without dimensions is a number.

        Raises:
            BadRequest: there is a NaN or an infinity in it, which JSON has no word for.
        """
        for name, array in self.tensors.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise BadRequest(
                    f"the model answers output {name[:80]!a} with NaN or infinity, which JSON has"
                    " no word for",
                    hint=f"ask for {numpy_files.NPZ}, or for binary tensors",
                    status=422,
                )
        return {name: array.tolist() for name, array in self.tensors.items()}

    def encode(self, media_type: str) -> bytes:
        """The arrays as an `.npz`, or the one that there is as an `.npy`.

        Raises:
            BadRequest: there are several, and an `.npy` has one.
        """
        if media_type == numpy_files.NPZ:
            return numpy_files.write(self.tensors)
        if len(self.tensors) != 1:
            raise BadRequest(
                f"an .npy holds one array; the model gives {', '.join(self.tensors)}"[:1000],
                hint=f"accept {numpy_files.NPZ}",
                status=422,
            )
        return numpy_files.write_one(next(iter(self.tensors.values())))

    def parts(self) -> dict[str, object]:
        """The arrays."""
        return dict(self.tensors)

    @classmethod
    def field_schemas(cls) -> dict[str, JsonObject]:
        """The JSON Schema of each output."""
        return {name: schema(spec) for name, spec in cls.specs.items()}


def answers_of(specs: Mapping[str, OutputSpec]) -> type[NamedTensors]:
    """The class of answers that have such outputs."""
    return type("Outputs", (NamedTensors,), {"specs": dict(specs)})
