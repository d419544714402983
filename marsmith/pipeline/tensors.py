"""What a recipe for a model's bare tensors leaves out, read from the model itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from handlers import tasks
from handlers.protocols.tensors import ARRAY_TYPES
from handlers.runtimes import Runtime, Tensors
from handlers.tasks.tensors import NamedTensorsHandler
from marsmith import arguments
from marsmith.errors import BuildError, reason
from marsmith.recipe.sections import Recipe
from marsmith.sources.onnx import OnnxModule, declared

SAY = "say it: handler: {inputs: {NAME: {shape: [3, frames], datatype: FP32}}}"


def with_inputs(recipe: Recipe, module: torch.nn.Module) -> Recipe:
    """Return the recipe with what the model says of its inputs; the recipe's own wins.

    Raises:
        BuildError: neither says what shape an input has, or the recipe has one that isn't there.
    """
    if not issubclass(tasks.find(recipe.task), NamedTensorsHandler):
        return recipe
    own = _mapping(recipe.handler.get("inputs"), "handler.inputs")
    known = _declared(module, alone=recipe.serving.batch_size == 1)
    if unknown := [name for name in own if name not in known]:
        raise BuildError(
            f"the model has no input {unknown[0]!r}; it takes {', '.join(known) or 'nothing'}",
            "the recipe's handler.inputs must have the model's own names",
        )
    inputs: dict[str, object] = {}
    for name, said in known.items():
        if said is None and name not in own:
            raise BuildError(f"it is not known what input {name!r} is", SAY)
        whole = {**(said or {}), **_mapping(own.get(name), f"handler.inputs.{name}")}
        if "shape" not in whole:
            raise BuildError(f"it is not known what shape input {name!r} has", SAY)
        inputs[name] = whole
    return recipe.model_copy(update={"handler": {**recipe.handler, "inputs": inputs}})


def outputs_of(runtime: Runtime, batch: Tensors) -> Tensors:
    """Run the model as it came on two instances, or one, twice.

    Raises:
        BuildError: it can't be run on them, or says something else the second time: what it keeps
            of one request would be in the answer to another's.
    """
    try:
        first = {name: each.clone() for name, each in runtime(batch).items()}
        again = runtime(batch)
    except Exception as error:  # a model may raise anything
        shapes = ", ".join(f"{name} {tuple(each.shape)}" for name, each in batch.items())
        raise BuildError(
            f"the model can't be run on {shapes}: {reason(error)}",
            "say in handler.inputs what shapes it takes, and give real data in 'evaluation:'",
        ) from error
    for name, each in first.items():
        same = each.shape == again[name].shape
        if not same or not torch.allclose(
            each.double(), again[name].double(), 1e-3, 1e-3, equal_nan=True
        ):
            raise BuildError(
                f"output {name!r} is another one when the model is asked the same again: it keeps"
                " something, which one client's request would leave to the next one's",
                "make the state an input and an output, and name them: handler.inputs, from_output;"
                " of a TorchScript file, the source's 'state' does that with its attributes",
            )
        if not each.ndim or len(each) != len(next(iter(batch.values()))):
            raise BuildError(
                f"output {name!r} has the shape {tuple(each.shape)}, and not a row for each of"
                f" {len(next(iter(batch.values())))} instance(s)",
                "its first dimension must be the batch",
            )
    return first


def with_outputs(recipe: Recipe, outputs: Tensors) -> Recipe:
    """Return the recipe with what the model's outputs are.

    Args:
        recipe: with its inputs.
        outputs: of the model, for two instances.

    Raises:
        BuildError: the recipe names an output that the model doesn't give.
    """
    own = _mapping(recipe.handler.get("outputs"), "handler.outputs")
    if unknown := [name for name in own if name not in outputs]:
        raise BuildError(
            f"the model has no output {unknown[0]!r}; it gives {', '.join(outputs)}",
            "the recipe's handler.outputs must have the model's own names",
        )
    fixed = all(
        isinstance(size, int)
        for each in _mapping(recipe.handler["inputs"], "handler.inputs").values()
        for size in _mapping(each, "an input").get("shape", ())  # type: ignore[attr-defined]
    )
    found = {
        name: {
            "datatype": _datatype(tensor),
            **({"shape": list(tensor.shape[1:])} if fixed else {}),
            **_mapping(own.get(name), f"handler.outputs.{name}"),
        }
        for name, tensor in outputs.items()
    }
    return recipe.model_copy(update={"handler": {**recipe.handler, "outputs": found}})


def _declared(module: torch.nn.Module, *, alone: bool) -> dict[str, dict[str, object] | None]:
    """What a module says of each input: all that a recipe would, or its name alone.

    Args:
        module: of the source.
        alone: whether it is served one request at a time.
    """
    if isinstance(module, OnnxModule):
        file = module.path.name
        return {each.name: _of_onnx(each, file, alone=alone) for each in declared(module.path)}
    if isinstance(module, torch.fx.GraphModule):
        places = [node for node in module.graph.nodes if node.op == "placeholder"]
        return {str(n.target): _of_node(n.meta.get("val")) for n in places}
    return dict.fromkeys(arguments.names(module))


def _of_onnx(value: Any, file: str, *, alone: bool) -> dict[str, object]:
    import onnx

    kind = value.type.tensor_type
    dims = list(kind.shape.dim)
    one = alone and bool(dims) and dims[0].dim_value == 1
    if not dims or (dims[0].HasField("dim_value") and not one):
        first = f"a first dimension of {dims[0].dim_value}" if dims else "no dimension"
        raise BuildError(
            f"{file}: input {value.name!r} has {first}, where the batch must be, of any size",
            "give it in the source's 'constants', or say in 'batch_axes' where the batch is, or"
            " export the model with a dynamic first dimension; a batch of one is 'serving:"
            " {batch_size: 1}'",
        )
    shape: list[object] = [
        d.dim_value if d.HasField("dim_value") else d.dim_param or f"{value.name}_{axis}"
        for axis, d in enumerate(dims[1:], 1)
    ]
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    return {"datatype": ARRAY_TYPES[dtype], "shape": shape}


def _of_node(value: object) -> dict[str, object] | None:
    if not isinstance(value, torch.Tensor):
        return None
    shape = [size if isinstance(size, int) else str(size) for size in value.shape[1:]]
    return {"datatype": _datatype(torch.empty(0, dtype=value.dtype)), "shape": shape}


def _datatype(tensor: torch.Tensor) -> str:
    if tensor.dtype == torch.bfloat16:
        return "FP32"
    return ARRAY_TYPES[tensor.detach().cpu().numpy().dtype]


def _mapping(value: object, where: str) -> Mapping[str, object]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise BuildError(f"{where} must be a mapping", SAY)
    return value
