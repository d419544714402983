"""What a file's own engine makes of named tensors, without any part of ours between them."""

from __future__ import annotations

import io
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from handlers.protocols.tensors import DATATYPES
from handlers.runtimes import eager
from marsmith.recipe.sections import Untouched


def of_onnx(
    path: Path,
    constants: Mapping[str, object],
    batch_axes: Mapping[str, int],
    instances: Sequence[object],
    handler: Mapping[str, object],
) -> Untouched | None:
    """Run an ONNX file with ONNX Runtime, on each instance alone.

    Args:
        path: of the file.
        constants: values of inputs that instances don't have.
        batch_axes: where tensors have the batch that don't have it first.
        instances: arrays in NumPy's files, or nested lists, by name or alone.
        handler: the recipe's section; what it says of the inputs is used for what is left out.

    Returns:
        The outputs, with the batch first; None where the instances are no tensors.
    """
    inputs = handler.get("inputs")
    if not isinstance(inputs, Mapping):  # another task's, whose instances are no tensors
        return None
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    takes = {each.name: each for each in session.get_inputs()}
    gives = [each.name for each in session.get_outputs()]
    found: list[dict[str, torch.Tensor] | None] = []
    for instance in instances:
        arrays = _arrays(instance, inputs)
        if arrays is None:
            found.append(None)
            continue
        feed = {}
        for name, declared in takes.items():
            dtype = np.dtype(_DTYPES[declared.type])
            if name in constants:
                value = np.asarray(constants[name], dtype)
                shape = declared.shape
                known = all(isinstance(size, int) for size in shape)
                feed[name] = np.full(shape, value) if known and value.ndim == 0 else value
                continue
            value = np.asarray(arrays[name]).astype(dtype)
            feed[name] = np.expand_dims(value, batch_axes.get(name, 0))
        results = session.run(gives, feed)
        moved = (
            np.moveaxis(array, batch_axes.get(name, 0), 0)
            for name, array in zip(gives, results, strict=True)
        )
        found.append(
            {
                n: torch.from_numpy(np.ascontiguousarray(a))
                for n, a in zip(gives, moved, strict=True)
            }
        )
    return Untouched([None] * len(found), found, by="the file itself, run by ONNX Runtime")


def of_torchscript(
    path: Path,
    constants: Mapping[str, object],
    state: Mapping[str, int],
    instances: Sequence[object],
    handler: Mapping[str, object],
) -> Untouched | None:
    """Call a TorchScript file by the names of its `forward`, on each instance alone, loaded anew.

    Args:
        path: of the file.
        constants: values of what `forward` takes and instances don't have.
        state: attributes that it keeps, and the axis of their batch: set where an instance has one.
        instances: as in `of_onnx`.
        handler: as in `of_onnx`.

    Returns:
        The outputs, and as "next_" and its name each attribute of `state`, with the batch first;
        None where the instances are no tensors.
    """
    inputs = handler.get("inputs")
    if not isinstance(inputs, Mapping):
        return None
    kept = {attribute.replace(".", "_").lstrip("_"): attribute for attribute in state}
    found: list[dict[str, torch.Tensor] | None] = []
    for instance in instances:
        arrays = _arrays(instance, inputs)
        if arrays is None:
            found.append(None)
            continue
        module: Any = torch.jit.load(str(path), map_location="cpu")
        module = module.eval() if hasattr(module, "training") else module
        given = {
            name: torch.from_numpy(np.asarray(array).astype(_dtype(inputs[name])))[None]
            for name, array in arrays.items()
        }
        for name, attribute in kept.items():
            _set(module, attribute, given.pop(name).transpose(0, state[attribute]).contiguous())
        known = {each.name for each in module.forward.schema.arguments}
        with torch.no_grad():
            if known.issuperset(given):
                outputs = eager.named(module(**given, **constants))
            else:  # one tensor, or those of `*args`, have no names there
                outputs = eager.named(module(*given.values(), **constants))
        for name, attribute in kept.items():
            value: Any = operator.attrgetter(attribute)(module)
            outputs[f"next_{name}"] = value.transpose(0, state[attribute])
        found.append(outputs)
    return Untouched([None] * len(found), found, by="the file itself, run by torch.jit")


def _set(module: Any, path: str, value: torch.Tensor) -> None:
    parent, _, name = path.rpartition(".")
    setattr(operator.attrgetter(parent)(module) if parent else module, name, value)


def _dtype(said: Mapping[str, Any]) -> np.dtype[Any]:
    return np.dtype(DATATYPES[said.get("datatype", "FP32")])


_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}


def _arrays(instance: object, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
    """An instance's arrays by name, with those that it leaves out at their start."""
    needed = [n for n, s in inputs.items() if s.get("default") is None and not s.get("from_output")]
    given: Any = instance
    if isinstance(instance, bytes):
        given = np.load(io.BytesIO(instance), allow_pickle=False)
        given = dict(given) if isinstance(given, np.lib.npyio.NpzFile) else given
    if not isinstance(given, Mapping):
        if len(needed) != 1:
            return None
        given = {needed[0]: given}
    arrays = dict(given)
    for name, said in inputs.items():
        if name not in arrays:
            shape = [size if isinstance(size, int) else 1 for size in said["shape"]]
            arrays[name] = np.broadcast_to(np.asarray(said.get("default") or 0), shape)
        if count := said.get("context"):
            before = np.zeros((*np.shape(arrays[name])[:-1], count))
            arrays[name] = np.concatenate([before, arrays[name]], axis=-1)
    return arrays
