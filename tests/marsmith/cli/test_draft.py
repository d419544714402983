"""Models that have no recipe: what they are is seen, and a recipe that builds is written."""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file

from marsmith.cache import Cache
from marsmith.cli import draft
from marsmith.cli.draft import write
from marsmith.errors import MarsmithError, RecipeError
from marsmith.pipeline.build import build
from marsmith.recipe.reading import load
from marsmith.sources.factory import Factory
from tests.support.command import marsmith
from tests.support.transformers_tokenizers import SIZES, write_bert_tokenizer

FACTORY = "tests.marsmith.cli.test_draft:net"


def net() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    ).eval()


def onnx_file(folder: Path, channels: int = 3, batch: str | int = "n") -> Path:
    shape: list[str | int | None] = [batch, channels, 6, 8]
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["x"], ["p"]),
            helper.make_node("Flatten", ["p"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, channels])],
    )
    path = folder / "some model (1).onnx"
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def torchscript(folder: Path) -> Path:
    torch.jit.script(net()).save(folder / "net.pt")
    return folder / "net.pt"


def exported(folder: Path) -> Path:
    batch = torch.export.Dim("n")
    example = (torch.randn(2, 3, 8, 8),)
    torch.export.save(
        torch.export.export(net(), example, dynamic_shapes=({0: batch},)), folder / "net.pt2"
    )
    return folder / "net.pt2"


def state_dict(folder: Path) -> Path:
    torch.save(net().state_dict(), folder / "net.pth")
    return folder / "net.pth"


def training(folder: Path) -> Path:
    state = {f"model.{name}": tensor for name, tensor in net().state_dict().items()}
    torch.save({"state_dict": state, "epoch": 1}, folder / "net.ckpt")
    return folder / "net.ckpt"


def safetensors(folder: Path) -> Path:
    save_file(net().state_dict(), folder / "net.safetensors")
    return folder / "net.safetensors"


@pytest.mark.filterwarnings("ignore")  # torch's own, of what it writes
@pytest.mark.parametrize(
    ("make", "factory", "source", "runtime"),
    [
        (onnx_file, None, "onnx", "onnx"),
        (torchscript, None, "torchscript", "torchscript"),
        # A compiler runs for a minute.
        pytest.param(exported, None, "pt2", "pt2", marks=pytest.mark.slow),
        (training, FACTORY, "factory", "torchscript"),
        *(
            pytest.param(make, FACTORY, "factory", "torchscript", marks=pytest.mark.slow)
            for make in (state_dict, safetensors)
        ),
    ],
)
def test_a_model_gets_a_recipe_that_builds(
    tmp_path: Path, make: Callable[[Path], Path], factory: str | None, source: str, runtime: str
) -> None:
    path = make(tmp_path)
    recipe = write(path, "image_classification", factory, tmp_path / "made.yaml")
    read = load(recipe)
    assert source in type(read.source).model_fields
    assert read.runtime == runtime
    report = build(recipe, tmp_path / "store")
    assert report is not None
    assert report.ladder[-1].difference.max_abs_error == 0


def held(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], Path]:
    """What makes a checkpoint with the weights as a training script saves them."""

    def make(folder: Path) -> Path:
        torch.save(change(net().state_dict()), folder / "last.ckpt")
        return folder / "last.ckpt"

    return make


def before(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def whole(folder: Path) -> Path:
    torch.save(net(), folder / "net.pt")
    return folder / "net.pt"


def sharded(folder: Path) -> Path:
    state = net().state_dict()
    files = {name: f"net-{place}.safetensors" for place, name in enumerate(state)}
    for name, file in files.items():
        save_file({name: state[name]}, folder / file)
    index = folder / "net.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": files}))
    return index


def sharded_folder(folder: Path) -> Path:
    import transformers

    config = transformers.BertConfig(
        vocab_size=13, max_position_embeddings=40, intermediate_size=16, **SIZES
    )
    model = transformers.BertForSequenceClassification(config)
    model.save_pretrained(folder / "bert", max_shard_size="10KB")
    write_bert_tokenizer(folder / "bert")
    assert len(list((folder / "bert").glob("*.safetensors"))) > 1
    return folder / "bert"


def external(folder: Path) -> Path:
    weight = numpy_helper.from_array(np.ones((3, 4), np.float32), "w")
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["x"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("MatMul", ["f", "w"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 6, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "net.onnx", save_as_external_data=True, size_threshold=0)
    assert len(list(folder.iterdir())) == 2
    return folder / "net.onnx"


KINDS: dict[str, tuple[Callable[[Path], Path], str | None, str, str]] = {
    "DistributedDataParallel": (held(lambda s: before("module.", s)), FACTORY, "", "'module'"),
    "torch.compile": (held(lambda s: before("_orig_mod.", s)), FACTORY, "", "load last.ckpt"),
    "a training loop": (
        held(lambda s: {"epoch": 3, "model": s}), FACTORY, "", "the weights are under 'model'",
    ),
    "Lightning with settings": (
        held(lambda s: {
            "pytorch-lightning_version": "2.5.0", "state_dict": before("model.", s),
            "hyper_parameters": {"args": argparse.Namespace(lr=1)},
        }), FACTORY, "", "without what last.ckpt has of argparse.Namespace",
    ),
    "a whole module": (whole, FACTORY, "", "without what net.pt has of torch.nn.modules"),
    "shards": (sharded, FACTORY, "", "load net.safetensors.index.json"),
    "Hugging Face in shards": (sharded_folder, None, "text_classification", "load bert for"),
    "ONNX with its weights beside": (external, None, "", "load net.onnx"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # torch's own, of what it writes
@pytest.mark.parametrize(("make", "factory", "task", "said"), KINDS.values(), ids=KINDS)
def test_what_people_have_is_read(
    tmp_path: Path, make: Callable[[Path], Path], factory: str | None, task: str, said: str
) -> None:
    path = make(tmp_path)
    recipe = write(path, task or "image_classification", factory, tmp_path / "made.yaml")
    source, lines = load(recipe).source, list[str]()
    module = source.load(Cache(tmp_path / "cache"), lines.append)
    assert said in "; ".join(lines)
    if factory:
        own = net().state_dict()
        assert all(torch.equal(own[name], each) for name, each in module.state_dict().items())


def zipped(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "net.zip", "w") as archive:
        archive.writestr("net/config.json", "{}")
    return folder / "net.zip"


def savedmodel(folder: Path) -> Path:
    (folder / "saved").mkdir()
    (folder / "saved" / "saved_model.pb").write_bytes(b"")
    return folder / "saved"


def named(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(b"of another program")
        return folder / name

    return make


@pytest.mark.parametrize(
    ("make", "words", "hint"),
    [
        (whole, "is a whole module", "marsmith unpickle --i-trust-this"),
        (zipped, "is a zip", "unpack it"),
        (savedmodel, "a SavedModel of TensorFlow's", "tf2onnx"),
        (named("net.h5"), "Keras weights or a model of TensorFlow's", "tf2onnx"),
        (named("net.keras"), "a model of Keras", "onnx"),
        (named("net.tflite"), "a finished TFLite model", "converted from"),
        (named("net.mar"), "an archive already", "marsmith serve"),
        (named("net.gguf"), "llama.cpp", "Hugging Face"),
        (named("net.pkl"), "a pickle", "state_dict"),
        (named("net.joblib"), "a pickle of joblib's", "skl2onnx"),
        (held(lambda s: s), "holds weights alone", "--factory"),
    ],
)
def test_what_can_not_be_built_says_what_to_do(
    tmp_path: Path, make: Callable[[Path], Path], words: str, hint: str
) -> None:
    path = make(tmp_path)
    with pytest.raises(MarsmithError, match=words) as caught:
        write(path, "image_classification", None, tmp_path / "made.yaml")
    assert hint in caught.value.hint
    assert not (tmp_path / "made.yaml").exists()


def test_a_hugging_face_folder_needs_nothing_more(tmp_path: Path) -> None:
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=13, max_position_embeddings=40, intermediate_size=16, initializer_range=0.7,
        **SIZES,
    )  # fmt: skip
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    write_bert_tokenizer(tmp_path / "bert")
    recipe = write(tmp_path / "bert", "text_classification", None, tmp_path / "bert.yaml")
    report = build(recipe, tmp_path / "store")
    assert report is not None
    assert report.ladder[0].name == "untouched"


@pytest.mark.parametrize(("channels", "greyscale"), [(3, False), (1, True)])
def test_the_size_of_images_is_the_models(tmp_path: Path, channels: int, greyscale: bool) -> None:
    recipe = write(onnx_file(tmp_path, channels), "image_classification", None, tmp_path / "m.yaml")
    read = load(recipe)
    assert read.name == "some_model_1"
    assert read.handler.get("greyscale", False) is greyscale
    assert read.handler["resize"] == [6, 8]


@pytest.mark.parametrize("task", ["image_classification", "tensors"])
def test_a_file_that_takes_one_request_at_a_time_is_served_so(tmp_path: Path, task: str) -> None:
    recipe = write(onnx_file(tmp_path), task, None, tmp_path / "many.yaml")
    assert load(recipe).serving.batch_size == 8
    recipe = write(onnx_file(tmp_path, batch=1), task, None, tmp_path / "one.yaml")
    assert load(recipe).serving.batch_size == 1
    report = build(recipe, tmp_path / "store")
    assert report is not None
    assert report.ladder[-1].batch_sizes == (1,)


def test_every_setting_of_the_task_is_named(tmp_path: Path) -> None:
    text = write(safetensors(tmp_path), "tabular", FACTORY, tmp_path / "m.yaml").read_text()
    for name in ("mean", "letterbox"):
        assert f"#   {name}:" not in text
    assert "(classification | regression)\n#   kind: classification\n" in text
    assert "(string)\n#   columns: columns.json\n" in text
    assert "#   metric: roc_auc" in text
    assert all(len(line) <= 100 for line in text.splitlines())


@pytest.mark.parametrize(
    ("name", "task", "words", "hint"),
    [
        ("none.onnx", "tabular", "there is no", "Hugging Face"),
        ("net.safetensors", "tabular", "weights alone", "--factory"),
        ("net.safetensors", "tabluar", "did you mean 'tabular'", ""),
        ("notes.txt", "tabular", "not known what notes.txt is", "TorchScript"),
        ("", "tabular", "no config.json", "Hugging Face"),
    ],
)
def test_what_it_can_not_be_is_said(
    tmp_path: Path, name: str, task: str, words: str, hint: str
) -> None:
    safetensors(tmp_path)
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(MarsmithError, match=words) as caught:
        write(tmp_path / name, task, None, tmp_path / "m.yaml")
    assert hint in caught.value.hint
    assert not (tmp_path / "m.yaml").exists()


def test_a_recipe_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("name: mine")
    with pytest.raises(MarsmithError, match="is there already"):
        write(safetensors(tmp_path), "tabular", FACTORY, tmp_path / "m.yaml")
    assert (tmp_path / "m.yaml").read_text() == "name: mine"


def test_a_damaged_onnx_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"nothing of use")
    with pytest.raises((MarsmithError, RecipeError), match="not an ONNX file"):
        write(tmp_path / "m.onnx", "image_classification", None, tmp_path / "m.yaml")


@pytest.mark.parametrize("name", ["1.safetensors", "no.safetensors", "a #3: b.safetensors"])
def test_any_name_of_a_file_is_written_so_that_it_can_be_read(tmp_path: Path, name: str) -> None:
    path = safetensors(tmp_path).rename(tmp_path / name)
    recipe = write(path, "image_classification", FACTORY, tmp_path / "new" / "folder" / "m.yaml")
    source = load(recipe).source
    assert isinstance(source, Factory)
    assert source.checkpoint is not None
    assert source.checkpoint.resolve() == path.resolve()


def test_where_nothing_can_be_written_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MarsmithError, match="can't be written"):
        write(safetensors(tmp_path), "tabular", FACTORY, tmp_path / "file" / "m.yaml")


def test_what_no_file_tells_is_said(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").touch()
    source = {"onnx": str(tmp_path / "m.onnx")}
    given = {"name": "m", "task": "image_classification", "source": source}
    assert draft.unknown(load(given)) == (
        "; without `labels` in it, classes are numbers"
        "; without `resize` in it, pictures go in as large as they are"
    )
    whole = {**given, "handler": {"labels": "labels.json", "resize": [32, 32]}}
    assert draft.unknown(load(whole)) == ""
    assert draft.unknown(load({**given, "task": "tensors"})) == ""


def labelled(folder: Path, names: object, file: str = "classes.json") -> Path:
    (folder / "data").mkdir(exist_ok=True)
    path = folder / "data" / file
    path.write_text(names if isinstance(names, str) else json.dumps(names), "utf-8")
    return path


def test_a_name_and_labels_are_said_without_an_editor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model, names = onnx_file(tmp_path), labelled(tmp_path, ["cat", "dog", "größe"])
    recipe = write(model, "image_classification", name="pets", labels=names)
    assert recipe == Path("pets.yaml")
    read = load(recipe)
    assert (read.name, read.handler["labels"]) == ("pets", "classes.json")
    assert read.handler["resize"] == [6, 8]
    assert [file.resolve() for file in read.files] == [names.resolve()]
    assert draft.unknown(read) == ""
    build(recipe, tmp_path / "store")
    with zipfile.ZipFile(tmp_path / "store" / "pets.mar") as archive:
        assert json.loads(archive.read("classes.json")) == ["cat", "dog", "größe"]


def test_labels_that_are_not_as_many_as_the_model_answers_are_told(tmp_path: Path) -> None:
    model, names = onnx_file(tmp_path), labelled(tmp_path, ["cat", "dog"])
    recipe = write(model, "image_classification", out=tmp_path / "m.yaml", labels=names)
    with pytest.raises(MarsmithError, match="2 labels for 3 classes") as told:
        build(recipe, tmp_path / "store")
    assert "must name every class" in told.value.hint


@pytest.mark.parametrize(
    ("names", "file", "said"),
    [
        ({"0": "cat"}, "c.json", "must be a JSON list of strings"),
        (["cat", "cat"], "c.json", "must be unique"),
        ("cat\ndog\n", "c.txt", 'write them as JSON: ["cat", "dog"]'),
        ("[", "c.json", "can't be read"),
    ],
)
def test_labels_that_are_none_are_refused_before_anything_is_written(
    tmp_path: Path, names: object, file: str, said: str
) -> None:
    made = tmp_path / "m.yaml"
    with pytest.raises(MarsmithError) as told:
        write(
            onnx_file(tmp_path), "image_classification",
            out=made, labels=labelled(tmp_path, names, file),
        )  # fmt: skip
    assert said in f"{told.value.message}; {told.value.hint}"
    assert not made.exists()


@pytest.mark.parametrize("name", ["my model", "", "token_1", "-a", "a" * 201])
def test_a_name_that_no_archive_may_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MarsmithError, match="can't be a model's name"):
        write(onnx_file(tmp_path), "image_classification", out=tmp_path / "m.yaml", name=name)


def test_a_task_without_labels_takes_none(tmp_path: Path) -> None:
    with pytest.raises(MarsmithError, match="tensors has no classes"):
        write(onnx_file(tmp_path), "tensors", labels=labelled(tmp_path, ["a"]))


@pytest.mark.parametrize(
    "given", [("--name", "x"), ("--labels", "x.json"), ("--factory", "x:y"), ("--out", "x.yaml")]
)
def test_what_a_draft_alone_takes_is_refused_for_a_recipe(given: tuple[str, str]) -> None:
    done = marsmith("build", "archiver_configs/digits.yaml", *given, check=False)
    assert done.returncode == 1
    assert f"{given[0]} is for a model that has no recipe" in done.stderr
