from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.digits import DigitsNet
from marsmith.cache import Cache, code_of, key_of, module_key
from tests.support.paths import ROOT

PARTS = st.recursive(
    st.none() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_what_was_kept_is_found(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    assert cache.find("a") is None
    with cache.keep("a") as folder:
        (folder / "x").write_text("1")
    found = cache.find("a")
    assert found
    assert (found / "x").read_text() == "1"


def test_what_breaks_is_not_kept(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with pytest.raises(FileNotFoundError), cache.keep("a") as folder:
        (folder / "none").read_text()
    assert cache.find("a") is None
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_used_for_a_month_is_dropped(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    old = time.time() - 31 * 86_400
    for key in ("old", "used", "new"):
        with cache.keep(key):
            pass
    for key in ("old", "used"):
        os.utime(tmp_path / key, (old, old))
    cache.find("used")
    cache.drop_unused()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["new", "used"]


def test_work_that_was_stopped_is_there_until_it_is_finished(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.resumable("a").mkdir()
    (cache.resumable("a") / "half").touch()
    assert cache.find("a") is None
    with pytest.raises(FileNotFoundError), cache.keep("a") as folder:
        (folder / "none").read_text()
    cache.drop_unused()
    assert (cache.resumable("a") / "half").is_file()
    with cache.keep("a"):
        pass
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


@settings(max_examples=30)
@given(PARTS, PARTS)
def test_equal_parts_alone_have_equal_keys(one: object, other: object) -> None:
    same = repr(one) == repr(other) and type(one) is type(other)
    assert (key_of(one) == key_of(other)) == same


def test_a_key_is_of_content(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("same")
    assert key_of(tmp_path / "a") == key_of(tmp_path / "b")
    (tmp_path / "b").write_text("other")
    assert key_of(tmp_path / "a") != key_of(tmp_path / "b")
    assert key_of(torch.zeros(2)) != key_of(torch.zeros(1, 2))
    assert key_of(torch.zeros(2)) != key_of(torch.zeros(2, dtype=torch.bfloat16))


def test_a_key_of_a_folder_is_of_all_that_is_in_it(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "config.json").write_text("{}")
        (tmp_path / name / ".git").write_text(name)
    assert key_of(tmp_path / "a") == key_of(tmp_path / "b")
    (tmp_path / "b" / "deep" / "config.json").write_text("[]")
    assert key_of(tmp_path / "a") != key_of(tmp_path / "b")
    (tmp_path / "b" / "deep" / "config.json").write_text("{}")
    (tmp_path / "b" / "deep").rename(tmp_path / "b" / "other")
    assert key_of(tmp_path / "a") != key_of(tmp_path / "b")


def test_a_path_that_is_not_there_has_no_key(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone"):
        key_of("weights", [tmp_path / "gone.py"])


def test_a_module_that_is_not_there_has_no_code() -> None:
    for name in ("marsmith.passes.gone", "no_such_package", "no_such_package.module"):
        with pytest.raises(ModuleNotFoundError, match=name):
            code_of("marsmith.cache", name)


def code(*modules: str) -> set[str]:
    return {file.relative_to(ROOT).as_posix() for file in code_of(*modules)}


def test_code_is_what_a_module_imports_and_no_more() -> None:
    found = code("marsmith.passes.qat")
    training = {"fit.py", "loop.py", "distributed.py"}
    assert {f"marsmith/training/{name}" for name in training} <= found
    assert {"marsmith/passes/__init__.py", "marsmith/passes/qat.py"} <= found
    assert "handlers/cpu.py" in found
    # What an edit of would train all models anew, and for nothing.
    others = ("cli", "serving", "report", "verify", "converters", "pipeline", "passes/distill")
    assert not [file for file in found if file.startswith(tuple(f"marsmith/{e}" for e in others))]
    assert not [file for file in found if not file.startswith(("handlers/", "marsmith/"))]


def test_a_script_that_a_converter_starts_is_its_code() -> None:
    assert "marsmith/converters/_in_tensorflow.py" in code("marsmith.converters.tflite")


def test_what_only_type_checkers_import_is_no_code() -> None:
    assert "handlers/interface.py" in code("handlers.interface")
    assert "handlers/base.py" not in code("handlers.interface")


def test_a_module_of_ones_own_is_followed_into_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_metric.py").write_text("import own_counts, numpy\n")
    (tmp_path / "own_counts.py").write_text(
        "def f():\n    from marsmith.verify.metrics import accuracy"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = code_of("own_metric")
    assert {tmp_path / "own_metric.py", tmp_path / "own_counts.py"} <= set(found)
    assert ROOT / "marsmith/verify/metrics/accuracy.py" in found
    assert not [file for file in found if "numpy" in file.parts]


def test_a_module_is_its_weights_and_structure() -> None:
    torch.manual_seed(0)
    one = DigitsNet()
    torch.manual_seed(0)
    same = DigitsNet()
    assert module_key(one) == module_key(same)
    with torch.no_grad():
        next(same.parameters()).view(-1)[0] += 1e-3
    assert module_key(one) != module_key(same)
    assert module_key(one) != module_key(DigitsNet(8))


def test_a_module_is_the_code_that_its_classes_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_net.py").write_text(
        "import torch, own_ops\n"
        "class Net(torch.nn.Module):\n"
        "    def forward(self, x): return own_ops.scale(x)\n"
    )
    (tmp_path / "own_ops.py").write_text("def scale(x): return x * 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    net = importlib.import_module("own_net").Net()
    before = module_key(net)
    (tmp_path / "own_ops.py").write_text("def scale(x): return x * 3\n")
    assert module_key(net) != before


ANOTHER_PROCESS = """
from transformers import GPT2Config, GPT2LMHeadModel
import torch
from marsmith.cache import module_key
torch.manual_seed(0)
config = GPT2Config(vocab_size=50, n_positions=16, n_embd=8, n_layer=1, n_head=1)
print(module_key(GPT2LMHeadModel(config)))
"""


@pytest.mark.slow
def test_a_key_is_the_same_in_every_process() -> None:
    """A configuration of transformers' has sets, whose order is another in each."""
    said = {
        subprocess.run(
            [sys.executable, "-c", ANOTHER_PROCESS],
            env={**os.environ, "PYTHONHASHSEED": seed}, cwd=ROOT,
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(said) == 1
