"""What a model takes and answers, as the Open Inference Protocol says it.

See: "Model Metadata" of https://github.com/kserve/open-inference-protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from marsmith.errors import MarsmithError
from marsmith.serving.host.plan import ModelPlan

if TYPE_CHECKING:
    from handlers.schema import Json

Described = Mapping[str, object]


def of(
    model: ModelPlan, described: Described, predict: Callable[[object], object]
) -> dict[str, Json]:
    """Make a model's metadata.

    Args:
        model: the model.
        described: what its handler says of itself; empty for one that says nothing.
        predict: asks the model; its outputs are those of its own example, whose names and
            datatypes are told. Where that can't be sent as a tensor of BYTES, none are.
    """
    runtime = described.get("runtime")
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": f"marsmith_{runtime}" if isinstance(runtime, str) else "torchserve",
        "inputs": _inputs(described),
        "outputs": _outputs(described, predict),
    }


def _inputs(described: Described) -> list[Json]:
    said = described.get("input")
    found: list[Json] = []
    for name, kind in said.items() if isinstance(said, dict) else ():
        match kind:
            case {"datatype": str(datatype), "shape": list(shape)}:
                found.append({"name": name, "datatype": datatype, "shape": [-1, *shape]})
    return found


def _outputs(described: Described, predict: Callable[[object], object]) -> list[Json]:
    found: list[Json] = []
    match described.get("example"):
        case {"body_base64": str(body)}:
            tensor = {"name": "instance", "datatype": "BYTES", "shape": [1], "data": [body]}
            answer: object = None
            with suppress(MarsmithError):
                answer = predict({"inputs": [tensor]})
            outputs = answer.get("outputs") if isinstance(answer, dict) else None
            for each in outputs if isinstance(outputs, list) else ():
                match each:
                    case {"name": str(name), "datatype": str(datatype), "shape": list(shape)}:
                        sizes: list[Json] = [-1] * len(shape)
                        found.append({"name": name, "datatype": datatype, "shape": sizes})
    return found
