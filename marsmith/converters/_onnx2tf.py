"""PyTorch -> ONNX -> TensorFlow, for the converters that need it.

See:
    https://github.com/PINTO0309/onnx2tf
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import torch

from handlers.runtimes import Tensors
from handlers.runtimes.eager import named
from marsmith.converters import Job, _in_tensorflow
from marsmith.converters import onnx as onnx_converter
from marsmith.converters._graphs import Arrays, specialised
from marsmith.errors import BuildError, UnsupportedError
from marsmith.extras import need

if TYPE_CHECKING:
    import onnx

SCRIPT = Path(_in_tensorflow.__file__)
TIMEOUT_S = 1800
ROWS = 3
OTHERS = "use 'runtime: onnx', which takes it"

# onnx2tf imports more than it declares.
MODULES = ("onnx", "onnxscript", "onnxruntime", "onnx2tf", "tensorflow", "tf_keras",
           "onnx_graphsurgeon", "sng4onnx")  # fmt: skip
PACKAGES = ("onnx", "onnx2tf", "tensorflow-cpu", "tensorflow", "tf-keras")


@dataclass(frozen=True)
class Made:
    """A model in TensorFlow's terms.

    Attributes:
        inputs: the names of the inputs in its signature, by their own names.
        outputs: the names of the outputs in its signature, by their own names.
        rows: how many rows it takes at once; None for any.
    """

    inputs: dict[str, str]
    outputs: dict[str, str]
    rows: int | None


def convert(
    job: Job, precision: str, form: str, out: Path, rows: Sequence[int | None] = (None, 1)
) -> Made:
    """Write a model in one of TensorFlow's formats, checked to give the module's outputs.

    Args:
        job: the module and what is known of it.
        precision: one of tflite's PRECISIONS.
        form: "saved_model" or "tflite".
        out: an existing folder; the model is written as `out/saved_model` or `out/model.tflite`.
        rows: the numbers of rows to try a model for, in order; None for any number.

    Raises:
        UnsupportedError: a package is missing, or the model can't be expressed.
        BuildError: TensorFlow's process died, or took too long.
    """
    need("tflite", *MODULES)
    _see_varying(job, form)
    inputs = keys(job.batch)
    outputs = keys(job.outputs, taken=inputs)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        graphs = _write_data(job, precision, work, inputs, outputs, rows)
        settings = {"form": form, "precision": precision, "graphs": graphs}
        (work / "job.json").write_text(json.dumps(settings), "utf-8")
        try:
            ended = subprocess.run(
                [*command(), "convert"], cwd=work, env=environment(), timeout=TIMEOUT_S,
                stdin=subprocess.DEVNULL, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise BuildError(f"onnx2tf took more than {TIMEOUT_S} s", OTHERS) from error
        rows_made = _rows_made(work, ended.returncode)
        result = "saved_model" if form == "saved_model" else "model.tflite"
        shutil.move(work / result, out / result)
    return Made(
        dict(zip(job.batch, inputs, strict=True)),
        dict(zip(job.outputs, outputs, strict=True)),
        rows_made,
    )


def command() -> list[str]:
    """The command that starts the script; not by its path, where Python would look for `onnx`."""
    run = "import runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
    return [sys.executable, "-c", run, str(SCRIPT)]


def environment() -> dict[str, str]:
    """The script's environment: no network, no GPU, and the same bytes each time."""
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    upper = {name.upper(): value for name, value in nowhere.items()}
    ours = {"no_proxy": "", "PYTHONHASHSEED": "0", "CUDA_VISIBLE_DEVICES": "-1"}
    return {**os.environ, **nowhere, **upper, **ours, "TF_CPP_MIN_LOG_LEVEL": "3"}


def keys(names: Iterable[str], taken: Sequence[str] = ()) -> list[str]:
    """Turn names into words that TensorFlow allows for inputs and outputs, all different."""
    found: list[str] = []
    for name in (*taken, *names):
        word = re.sub(r"\W", "_", name, flags=re.ASCII)
        word = word if word[:1].isalpha() else f"x{word}"
        while word in found:
            word += "_"
        found.append(word)
    return found[len(taken) :]


def _see_varying(job: Job, form: str) -> None:
    varying = {name: axes for name, axes in job.varying.items() if axes}
    if varying:
        name, axes = next(iter(varying.items()))
        raise UnsupportedError(
            f"{form} has fixed shapes but for the batch; the size of {name!r} varies along its "
            f"axis {axes[0]}",
            "pad it to one size, or use 'runtime: onnx', which takes any",
        )


def _write_data(
    job: Job, precision: str, work: Path, inputs: list[str], outputs: list[str],
    rows: Sequence[int | None],
) -> list[tuple[str, int | None]]:  # fmt: skip
    """Write the graphs and arrays that the script needs; return each graph's file and rows."""
    import onnx

    exported = work / "exported.onnx"
    onnx_converter.export(job, exported)
    model = onnx.load(str(exported))
    exported.unlink()
    _rename(model.graph, inputs, outputs)
    batch = rows_of(job.batch, ROWS)
    arrays, results = _arrays(batch, inputs), _arrays(expected(job, batch), outputs)
    save_arrays(work / "inputs.npz", arrays)
    save_arrays(work / "expected.npz", results)
    if precision == "int8":
        save_arrays(work / "calibration.npz", _calibration(job, inputs))
    graphs = []
    for count in rows:
        file = f"rows_{count or 'any'}.onnx"
        try:
            graph = specialised(model, arrays, count)
        except Exception as error:  # ONNX Runtime's have no other base
            raise BuildError(f"the exported ONNX model doesn't run: {error}", OTHERS) from error
        _see_operators(graph.graph)
        onnx.save(graph, str(work / file))
        graphs.append((file, count))
    return graphs


def save_arrays(file: Path, arrays: Arrays) -> None:
    """Write arrays as a `.npz` file."""
    np.savez(file, **arrays)  # type: ignore[arg-type]  # none is named allow_pickle


def _arrays(tensors: Tensors, names: list[str]) -> Arrays:
    arrays = (tensor.numpy() for tensor in tensors.values())
    return dict(zip(names, arrays, strict=True))


def _calibration(job: Job, inputs: list[str]) -> Arrays:
    if not job.calibration:
        raise UnsupportedError(
            "static int8 takes the ranges of activations from data, and there is none",
            "name some under 'calibration:' in the recipe, or use int8_dynamic",
        )
    columns = zip(*(batch.values() for batch in job.calibration), strict=True)
    return {name: torch.cat(c).numpy() for name, c in zip(inputs, columns, strict=True)}


def _rename(graph: onnx.GraphProto, inputs: list[str], outputs: list[str]) -> None:
    """Give a graph's inputs and outputs their names in TensorFlow, wherever they occur."""
    old = [value.name for value in (*graph.input, *graph.output)]
    new = dict(zip(old, [*inputs, *outputs], strict=True))
    inner = {name for node in graph.node for name in node.output}
    inner |= {value.name for value in graph.initializer}
    new |= {name: f"{name}_inner" for name in (inner - set(old)).intersection(new.values())}
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = new.get(value.name, value.name)
    _rename_nodes(graph, new)


def _rename_nodes(graph: onnx.GraphProto, new: dict[str, str]) -> None:
    for node in graph.node:
        for field in (node.input, node.output):
            field[:] = [new.get(name, name) for name in field]
        for attribute in node.attribute:  # a branch reads values around it
            _rename_nodes(attribute.g, new)


def _see_operators(graph: onnx.GraphProto) -> None:
    # Not by an import, which would bring TensorFlow into this process.
    spec = importlib.util.find_spec("onnx2tf")
    folders = (spec and spec.submodule_search_locations) or []
    known = {file.stem for folder in folders for file in Path(folder, "ops").glob("*.py")}
    unknown = sorted({node.op_type for node in graph.node} - known)
    if unknown:
        raise UnsupportedError(f"onnx2tf doesn't know ONNX's {', '.join(unknown)}", OTHERS)


class Reply(TypedDict, total=False):
    """What the script says at its end: how many rows the model takes, or why there is none."""

    rows: int | None
    reason: str
    operators: list[str]


def _rows_made(work: Path, status: int) -> int | None:
    file = work / "made.json"
    if not file.is_file():
        raise BuildError(f"onnx2tf's process ended with status {status}", OTHERS)
    made: Reply = json.loads(file.read_text("utf-8"))
    if "reason" in made:
        operators = ", ".join(made["operators"])
        raise UnsupportedError(
            f"{made['reason']} {operators}"
            if operators
            else f"onnx2tf can't convert this model: {made['reason']}",
            OTHERS,
        )
    return made["rows"]


def rows_of(batch: Tensors, count: int) -> Tensors:
    """The first `count` rows of a batch, which is repeated if it has fewer."""
    chosen = torch.arange(count)
    return {name: tensor[chosen % len(tensor)] for name, tensor in batch.items()}


def expected(job: Job, batch: Tensors) -> Tensors:
    """The module's own outputs for a batch."""
    with torch.inference_mode():
        return named(job.module(*batch.values()))
