"""A script: ONNX -> Keras -> a SavedModel or a TFLite file; or a SavedModel, run.

It runs in a process of its own and imports nothing of ours: TensorFlow and torch in one process
start slowly and bring two OpenMPs. `_onnx2tf.py` starts it, in the folder that it works in.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any, Protocol

import numpy as np

TOLERANCE = 1e-4  # as a share of the largest magnitude, at least of 1
Arrays = dict[str, np.ndarray]


class Tensor(Protocol):
    """What is used of a tensor of TensorFlow's."""

    def numpy(self) -> np.ndarray:
        """Its values."""

    def __getitem__(self, index: int | None, /) -> Tensor: ...


class Impossible(Exception):  # noqa: N818 - a reason, not a fault
    """What onnx2tf or TensorFlow can't do, and the operators to blame."""

    def __init__(self, reason: str, *operators: str) -> None:
        super().__init__(reason)
        self.operators = operators


def convert() -> int | None:
    """Do `job.json`: write `saved_model` or `model.tflite`.

    Its `graphs` are the same model for any number of rows and for one. The first that can be
    converted in some way, and then gives the expected outputs, is taken.

    Returns:
        How many rows the model takes; None for any.

    Raises:
        Impossible: none can be converted.
    """
    import onnx

    job = json.loads(Path("job.json").read_text("utf-8"))
    inputs, expected = dict(np.load("inputs.npz")), dict(np.load("expected.npz"))
    _mend_onnx2tf()
    graphs: list[tuple[str, int | None]] = job["graphs"]
    reasons: list[Impossible] = []
    for file, rows in graphs:
        for way in _ways(inputs):
            # Otherwise it pads before a max pooling with -3e38, which no int8 can hold; after a
            # ReLU, 0 is as good.
            way["output_integer_quantized_tflite"] = job["precision"] == "int8"
            try:
                model = _keras(onnx.load(file), inputs, expected, rows, way)
                if job["form"] == "tflite":
                    _write_tflite(model, job["precision"], inputs, rows)
                else:
                    _write_saved_model(model, inputs, expected, rows)
            except (Exception, SystemExit) as error:  # onnx2tf raises anything, and exits
                traceback.print_exc()
                reasons.append(_reason(error))
                if reasons[-1].operators:
                    break
            else:
                return rows
    raise next((reason for reason in reasons if reason.operators), reasons[-1])


def _ways(inputs: Arrays) -> Iterator[dict[str, object]]:
    """Yield settings of onnx2tf, the likeliest first: it guesses layouts, and may guess wrong."""
    images = [name for name, value in inputs.items() if value.ndim in (4, 5)]
    rest = [name for name in inputs if name not in images]
    for lenient in (False, True):
        if images:
            yield {
                "keep_ncw_or_nchw_or_ncdhw_input_names": images,
                "keep_shape_absolutely_input_names": rest,
                "disable_strict_mode": lenient,
            }
        yield {
            "keep_shape_absolutely_input_names": list(inputs),
            "disable_strict_mode": lenient,
        }


def _keras(
    graph: Any, inputs: Arrays, expected: Arrays, rows: int | None, way: dict[str, object]
) -> Any:
    """Make a `tf.Module` whose `call` takes and returns named tensors, checked to be right."""
    import onnx2tf
    import tensorflow as tf

    real = [(name, f"{name}.npy") for name in inputs]
    for name, file in real:
        np.save(file, inputs[name][:1])
    keras = onnx2tf.convert(
        onnx_graph=graph,
        output_folder_path="onnx2tf",
        custom_input_op_name_np_data_path=real,
        not_use_onnxsim=True,
        not_use_opname_auto_generate=True,
        output_signaturedefs=True,
        disable_model_save=True,
        verbosity="error",
        **way,
    )

    def outputs_of(feed: Mapping[str, object]) -> list[Tensor]:
        outputs = keras([feed[name] for name in inputs])
        return list(outputs) if isinstance(outputs, list | tuple) else [outputs]

    count = rows or 2
    first = outputs_of(_tensors(inputs, count))
    orders = [
        _order(output.numpy(), value[:count], name)
        for output, (name, value) in zip(first, expected.items(), strict=True)
    ]

    def call(**feed: object) -> dict[str, Tensor]:
        return {
            name: tf.cast(tf.transpose(output, order), value.dtype)
            for output, order, (name, value) in zip(
                outputs_of(feed), orders, expected.items(), strict=True
            )
        }

    for count in [rows] if rows else [1, 3]:
        for name, output in call(**_tensors(inputs, count)).items():
            _order(output.numpy(), expected[name][:count], name)
    module = tf.Module()
    module.call, module.kept = call, keras.variables
    return module


def _mend_onnx2tf() -> None:
    import tensorflow as tf

    # Where a model takes images, it would fetch photographs from the network.
    inside: Any = importlib.import_module("onnx2tf.onnx2tf")
    inside.download_test_image_data = _photographs
    for each in ("conv1d_transpose", "conv2d_transpose", "conv3d_transpose"):
        setattr(tf.nn, each, _for_any_rows(getattr(tf.nn, each)))


def _photographs() -> np.ndarray:
    return np.random.default_rng(0).random((20, 128, 128, 3), np.float32)


def _for_any_rows(function: Callable[..., object]) -> Callable[..., object]:
    """Let a transposed convolution take the batch size that onnx2tf gives as a name."""
    import tensorflow as tf

    def transposed(
        input: object,  # noqa: A002
        filters: object,
        output_shape: Sequence[object],
        **options: object,
    ) -> object:
        rows = output_shape[0] if isinstance(output_shape[0], int) else tf.shape(input)[0]
        return function(input, filters, [rows, *output_shape[1:]], **options)

    return transposed


def _tensors(inputs: Arrays, count: int) -> dict[str, object]:
    import tensorflow as tf

    return {name: tf.constant(value[:count]) for name, value in inputs.items()}


def _order(given: np.ndarray, expected: np.ndarray, name: str) -> list[int]:
    """The order of an output's axes that gives what is expected: onnx2tf moves axes."""
    best, found = np.inf, None
    for rest in permutations(range(1, given.ndim)):
        turned = given.transpose(0, *rest)
        if turned.shape == expected.shape:
            error = _difference(turned, expected)
            if found is None or error < best:
                best, found = error, [0, *rest]
    if found is None:
        raise Impossible(f"{name!r} has the shape {given.shape}, not {expected.shape}")
    finite = expected[np.isfinite(expected)].astype(float)
    if best > TOLERANCE * max(1, np.abs(finite).max(initial=0)):
        raise Impossible(f"{name!r} is off by {best:.2g}")
    return found


def _difference(given: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference; equal infinities, and two NaNs, don't differ."""
    given, expected = given.astype(float), expected.astype(float)
    same = (given == expected) | (np.isnan(given) & np.isnan(expected))
    difference = np.abs(np.subtract(given, expected, out=np.zeros_like(given), where=~same))
    return float(np.nan_to_num(difference, nan=np.inf).max(initial=0))


def _concrete(
    call: Callable[..., object], inputs: Arrays, rows: int | None
) -> tuple[object, object]:
    import tensorflow as tf

    function = tf.function(call, autograph=False)
    specs = {
        name: tf.TensorSpec((rows, *value.shape[1:]), value.dtype, name)
        for name, value in inputs.items()
    }
    return function, function.get_concrete_function(**specs)


def _write_saved_model(module: Any, inputs: Arrays, expected: Arrays, rows: int | None) -> None:
    import tensorflow as tf

    call = module.call
    if rows is not None:  # the graph takes one row; TensorFlow takes them one by one
        kinds = {name: tf.TensorSpec(v.shape[1:], v.dtype) for name, v in expected.items()}

        def one(row: dict[str, Tensor]) -> dict[str, Tensor]:
            outputs = module.call(**{name: value[None] for name, value in row.items()})
            return {name: value[0] for name, value in outputs.items()}

        def call(**feed: object) -> object:
            return tf.map_fn(one, feed, fn_output_signature=kinds)

    saved = tf.Module()
    saved.kept = module.kept
    saved.call, signature = _concrete(call, inputs, None)
    tf.saved_model.save(saved, "saved_model", signatures=signature)


def _write_tflite(module: Any, precision: str, inputs: Arrays, rows: int | None) -> None:
    import tensorflow as tf

    kept = tf.Module()
    kept.kept = module.kept
    kept.call, signature = _concrete(module.call, inputs, rows)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([signature], kept)
    if precision != "fp32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        ops = tf.lite.OpsSet
        converter.target_spec.supported_ops = [ops.TFLITE_BUILTINS_INT8, ops.TFLITE_BUILTINS]
        converter.representative_dataset = _calibration
    Path("model.tflite").write_bytes(converter.convert())


def _calibration() -> Iterator[Arrays]:
    rows = dict(np.load("calibration.npz"))
    for index in range(len(next(iter(rows.values())))):
        yield {name: value[index : index + 1] for name, value in rows.items()}


def _reason(error: BaseException) -> Impossible:
    if isinstance(error, Impossible):
        return error
    text = str(error)
    missing = sorted(set(re.findall(r"'tf\.(\w+)' op is neither", text)))
    if missing:
        return Impossible("TFLite has none of TensorFlow's", *missing)
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    keras = lines[0].startswith("Exception encountered when calling layer") and len(lines) > 1
    return Impossible(lines[1] if keras else lines[0])


def serve(saved_model: str) -> None:
    """Run a SavedModel: for each line N, read `N.npz` and write `N.out.npz`.

    It answers each with a line: empty, or what went wrong.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is not an answer
    import tensorflow as tf

    signature = tf.saved_model.load(saved_model).signatures["serving_default"]
    for line in sys.stdin:
        turn = line.strip()
        try:
            feed = {name: tf.constant(v) for name, v in np.load(f"{turn}.npz").items()}
            outputs = {name: tensor.numpy() for name, tensor in signature(**feed).items()}
            np.savez(f"{turn}.out.npz", **outputs)
            answers.write("\n")
        except Exception as error:  # whatever TensorFlow raises
            traceback.print_exc()
            answers.write(f"{_reason(error)}\n")


def main() -> None:
    """Run `convert`, and write its result to `made.json`; or run `serve SAVED_MODEL`."""
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
        return
    made: dict[str, object]
    try:
        made = {"rows": convert()}
    except Impossible as error:
        made = {"reason": str(error), "operators": error.operators}
    Path("made.json").write_text(json.dumps(made), "utf-8")


if __name__ == "__main__":
    main()
