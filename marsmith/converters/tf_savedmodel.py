"""A TensorFlow SavedModel, through ONNX, for other systems: it has no runtime here."""

from __future__ import annotations

import subprocess
import tempfile
import weakref
from pathlib import Path

import numpy as np
import torch

from handlers.runtimes import Runtime, Tensors, ordered
from marsmith.converters import Artifact, Job, _onnx2tf
from marsmith.converters._onnx2tf import save_arrays
from marsmith.extras import need

PRECISIONS = ("fp32",)
DEFAULTS = ()
PACKAGES = _onnx2tf.PACKAGES

# It holds a random number, and TensorFlow loads a model without it.
FINGERPRINT = "fingerprint.pb"


def convert(job: Job, precision: str, out: Path) -> Artifact:
    """Write `out/saved_model`, whose "serving_default" takes any number of rows.

    Inputs and outputs are as PyTorch has them. The options are their names in the signature, by
    their own names.

    Args:
        job: the module and what is known of it.
        precision: one of PRECISIONS.
        out: an existing folder.

    Raises:
        UnsupportedError: a package is missing, or TensorFlow can't express the model; the
            message names the operators.
        BuildError: TensorFlow's process died.
    """
    made = _onnx2tf.convert(job, precision, "saved_model", out)
    folder = out / "saved_model"
    (folder / FINGERPRINT).unlink(missing_ok=True)
    model = folder / "saved_model.pb"
    files = tuple(sorted(file for file in folder.rglob("*") if file.is_file() and file != model))
    return Artifact(model, files, {"inputs": made.inputs, "outputs": made.outputs})


def load(artifact: Artifact, job: Job) -> Runtime:
    """Run a SavedModel with TensorFlow, to compare it with PyTorch.

    TensorFlow runs in a process of its own, which ends with the runtime.

    Args:
        artifact: what `convert` made.
        job: not used.

    Raises:
        UnsupportedError: TensorFlow is not installed.
    """
    need("tflite", "tensorflow")
    return _Process(artifact)


class _Process:
    """TensorFlow in a process that takes inputs in files and answers with a line."""

    def __init__(self, artifact: Artifact) -> None:
        self._inputs, self._outputs = artifact.options["inputs"], artifact.options["outputs"]
        self._folder = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [*_onnx2tf.command(), "serve", str(artifact.model.parent.resolve())],
            cwd=self._folder.name, env=_onnx2tf.environment(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self._turn = 0
        weakref.finalize(self, _end, self._process, self._folder)

    def __call__(self, inputs: Tensors) -> Tensors:
        turn, self._turn = Path(self._folder.name) / str(self._turn), self._turn + 1
        given = ordered(inputs, self._inputs)
        arrays = {key: given[name].numpy(force=True) for name, key in self._inputs.items()}
        save_arrays(turn.with_suffix(".npz"), arrays)
        questions, answers = self._process.stdin, self._process.stdout
        assert questions is not None and answers is not None  # noqa: S101, PT018 - both are pipes
        try:
            questions.write(f"{turn.name}\n")
            questions.flush()
            answer = answers.readline()
        except OSError as error:
            raise RuntimeError("TensorFlow's process ended") from error
        if answer != "\n":
            raise RuntimeError(answer.strip() or "TensorFlow's process ended")
        with np.load(turn.with_suffix(".out.npz")) as made:
            return {name: torch.from_numpy(made[key]) for name, key in self._outputs.items()}


def _end(process: subprocess.Popen[str], folder: tempfile.TemporaryDirectory[str]) -> None:
    process.kill()
    process.communicate()
    folder.cleanup()
