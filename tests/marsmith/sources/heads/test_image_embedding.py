"""Folders of transformers' encoders of images: their vectors are those of transformers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from handlers import tasks
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.image_embedding import ImageEmbedding
from marsmith.cache import Cache
from marsmith.errors import GateError, UnsupportedError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.pipeline.original import prepare
from marsmith.recipe import reading
from marsmith.sources.heads import image_embedding
from marsmith.sources.huggingface import HuggingFace
from tests.support.in_batches import answers_in_batches
from tests.support.vision_folders import bodies, save, without_transformers

ENCODERS = ["clip", "siglip", "dinov2", "vit", "swin", "convnext", "resnet"]


def vectors_of_transformers(folder: Path) -> torch.Tensor:
    """Of each body, a vector of length 1."""
    from transformers import AutoImageProcessor, AutoModel
    from transformers.image_utils import load_image

    model = AutoModel.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    found = []
    for body in bodies():
        inputs = processor(images=load_image(Image.open(io.BytesIO(body))), return_tensors="pt")
        with torch.inference_mode():
            if hasattr(model, "get_image_features"):
                vector = model.get_image_features(**inputs).pooler_output
            else:
                vector = model(**inputs).pooler_output
        found.append(torch.nn.functional.normalize(vector.flatten(), dim=0))
    return torch.stack(found)


def check(answers: list[dict[str, Any]], folder: Path) -> None:
    wanted = vectors_of_transformers(folder)
    found = torch.tensor([each["embedding"] for each in answers])
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    assert (wanted @ wanted.T).min() < 0.9  # another preparation would be noticed


@pytest.mark.parametrize("family", ENCODERS)
def test_a_folder_answers_as_transformers_does(tmp_path: Path, family: str) -> None:
    folder = save(tmp_path / "model", family, "Model")
    source = HuggingFace(huggingface=folder, head="image_embedding")
    module = source.load(Cache(tmp_path), lambda line: None)
    handler: ImageEmbedding = tasks.find("image_embedding")()
    handler.configure({"task": "image_embedding", **source.bring(module, tmp_path, {})}, tmp_path)
    handler.use(ModuleRuntime(module, torch.device("cpu")), batch_size=8)
    samples = [handler.decode(each, handler.default_options) for each in bodies()]
    check(answers_in_batches(handler, samples), folder)
    check(answers_in_batches(handler, samples, limit=1), folder)
    assert not [name for name, _ in module.named_parameters() if "text_model" in name]


@pytest.mark.slow
@pytest.mark.parametrize("family", ENCODERS)
def test_its_archive_does_too(tmp_path: Path, family: str) -> None:
    folder = save(tmp_path / "model", family, "Model")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"name: x\ntask: image_embedding\nsource: {{huggingface: {folder}}}\n")
    report = build(reading.load(recipe), tmp_path / "store")
    assert report is not None
    assert report.ladder[0].name == "untouched"
    alone = without_transformers(tmp_path)
    with Harness(tmp_path / "store" / "x.mar", batch_size=8, env=alone) as harness:
        found = harness.predict([Request.raw(body) for body in bodies()[:8]])
        found += harness.predict([Request.raw(body) for body in bodies()[8:]])
    check([response.json() for response in found], folder)


def test_a_state_that_is_not_the_models_own_vector_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first(self: Any, image: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.model(pixel_values=image).last_hidden_state[:, 1]
        return found

    monkeypatch.setattr(image_embedding.ImageEncoder, "forward", first)
    folder = save(tmp_path / "model", "dinov2", "Model")
    recipe = {
        "name": "m", "task": "image_embedding", "source": {"huggingface": str(folder)},
        "evaluation": {"data": "tests.support.vision_folders:bodies"},
    }  # fmt: skip
    (tmp_path / "work").mkdir()
    with pytest.raises(GateError, match=r"output .* of the model"):
        prepare(reading.load(recipe), tmp_path, tmp_path / "work", lambda line: None)


def test_a_model_of_texts_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=9, intermediate_size=8, **sizes)).save_pretrained(tmp_path)
    source = HuggingFace(huggingface=tmp_path, head="image_embedding")
    with pytest.raises(UnsupportedError, match="is no model of images"):
        source.load(Cache(tmp_path), lambda line: None)
