"""An edit of our own code is seen by the keys of what that code has made, and by no others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

EDITS = {
    "marsmith/training/distributed.py": "pass",
    "marsmith/training/loop.py": "pass",
    "marsmith/passes/qat.py": "pass",
    "marsmith/converters/onnx.py": "conversion",
    "marsmith/converters/_in_tensorflow.py": "conversion",
    "handlers/runtimes/tflite.py": "conversion",
    "handlers/tasks/image_classification.py": "measurement",
    "handlers/batching.py": "measurement",
    "marsmith/verify/evaluation.py": "measurement",
    "marsmith/verify/metrics/accuracy.py": "measurement",
    "handlers/errors.py": "pass conversion measurement",
    "marsmith/passes/distill.py": "",
    "marsmith/verify/metrics/r2.py": "",
    "marsmith/serving/host/ports.py": "",
    "marsmith/cli/commands.py": "",
    "handlers/tasks/tabular.py": "",
}

PROGRAM = """
import sys
from pathlib import Path
from types import SimpleNamespace

import torch

from marsmith import passes
from marsmith.passes import qat
from marsmith.pipeline import original, trials
from marsmith.recipe.candidate import Candidate
from marsmith.recipe.reading import load
from marsmith.verify.ladder import Ladder

recipe = load(Path(sys.argv[1]))
tflite = Candidate("tflite", "fp32")
ladder = Ladder(original.configured(recipe), recipe.evaluation, 1)

def keys():
    return {
        "pass": passes.made_from(qat.Qat(), torch.nn.Identity(), None),
        "conversion": trials.converted_by(tflite, SimpleNamespace(made_from="")),
        "measurement": original.measured_on(recipe, ladder),
    }

before = keys()
assert keys() == before
for name in sys.argv[3:]:
    file = Path(sys.argv[2], name)
    text = file.read_bytes()
    file.write_bytes(text + b"# edited")
    print(name, *(key for key, value in keys().items() if value != before[key]))
    file.write_bytes(text)
"""


def test_an_edit_changes_the_keys_of_what_it_may_change(tmp_path: Path) -> None:
    for package in ("handlers", "marsmith"):
        shutil.copytree(ROOT / package, tmp_path / package)
    recipe = ROOT / "archiver_configs" / "digits.yaml"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(recipe), str(tmp_path), *EDITS],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
    assert found == EDITS
