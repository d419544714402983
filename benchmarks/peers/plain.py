"""What a user would write around a model file, without any of ours: decode, run, answer.

A settings file, JSON, says which: {"kind": of KINDS, "file": the model, relative to the settings
or absolute, "threads": of each inference or 0 for the engine's own choice, "precision": "f32" or
"bf16"}. It travels in an archive of TorchServe's, too, so it imports nothing from beside it.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
ROOM = 64  # tokens that a cache grows by: an engine prepares for each new shape
END = "<|endoftext|>"

Arrays = Mapping[str, np.ndarray]
Engine = Callable[[Arrays], list[np.ndarray]]


@dataclass(frozen=True)
class Settings:
    """What the settings file says."""

    kind: str
    file: Path
    threads: int = 1
    precision: str = "f32"


class Constant:
    """No model."""

    def __init__(self, settings: Settings) -> None:
        """Take nothing of them."""

    def decode(self, body: bytes) -> bytes:
        """The body as it is."""
        return body

    def answer(self, items: Sequence[bytes]) -> list[dict[str, int]]:
        """The same for each."""
        return [{"answer": 1}] * len(items)


class ResNet:
    """Photographs: the five likeliest classes and their probabilities."""

    best = 5

    def __init__(self, settings: Settings) -> None:
        self.run = engine(settings)

    def decode(self, body: bytes) -> np.ndarray:
        """An image as (3, 224, 224) float32: resized, cropped in the middle, normalised.

        As torchvision has it: the longer side is cut to a whole number, the crop's place rounded.
        """
        image = Image.open(io.BytesIO(body)).convert("RGB")
        shorter = min(image.size)
        size = (256 * image.width // shorter, 256 * image.height // shorter)
        image = image.resize(size, Image.Resampling.BILINEAR)
        left, top = round((image.width - 224) / 2), round((image.height - 224) / 2)
        pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32)
        return np.ascontiguousarray(((pixels / 255 - MEAN) / STD).transpose(2, 0, 1))

    def answer(self, items: Sequence[np.ndarray]) -> list[dict[str, float]]:
        """Class to probability, the likeliest first; the batch is run at once."""
        logits = self.run({"image": np.stack(items)})[0]
        odds = np.exp(logits - logits.max(1, keepdims=True))
        shares = odds / odds.sum(1, keepdims=True)
        best = np.argsort(-shares, 1)[:, : self.best]
        return [
            {str(place): float(row[place]) for place in places}
            for row, places in zip(shares, best, strict=True)
        ]


class Digits(ResNet):
    """Grey images of 8x8 pixels: the three likeliest classes."""

    best = 3

    def decode(self, body: bytes) -> np.ndarray:
        """An image as (1, 8, 8) float32."""
        image = Image.open(io.BytesIO(body)).convert("L")
        return np.asarray(image, np.float32)[None] / 255


class MiniLm:
    """Sentences: a vector of each."""

    def __init__(self, settings: Settings) -> None:
        from tokenizers import Tokenizer

        self.run = engine(settings)
        folder = settings.file if settings.file.is_dir() else settings.file.parent
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(256)

    def decode(self, body: bytes) -> list[int]:
        """A text's tokens."""
        ids: list[int] = self.tokenizer.encode(body.decode()).ids
        return ids

    def answer(self, items: Sequence[list[int]]) -> list[dict[str, list[float]]]:
        """The mean of the states of each text's tokens, of length 1; the batch is run at once."""
        longest = -(-max(map(len, items)) // 8) * 8  # few shapes: an engine prepares for each
        ids = np.zeros((len(items), longest), np.int64)
        mask = np.zeros_like(ids)
        for row, each in enumerate(items):
            ids[row, : len(each)] = each
            mask[row, : len(each)] = 1
        found = self.run({"input_ids": ids, "attention_mask": mask})[0]
        if found.ndim == 3:
            found = (found * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        found = found / np.linalg.norm(found, axis=1, keepdims=True)
        return [{"embedding": each} for each in found.tolist()]


@dataclass
class Text:
    """One text that is being written.

    Attributes:
        ids: the prompt's tokens.
        most: how many tokens may follow.
        made: those that follow.
        done: whether it has ended.
    """

    ids: list[int]
    most: int
    made: list[int] = field(default_factory=list)
    done: bool = False


class Gpt:
    """Writes what follows a text, the likeliest token each time, with a cache of keys and values.

    Texts of a batch begin together; who ends early leaves its row idle.
    """

    def __init__(self, settings: Settings) -> None:
        from tokenizers import Tokenizer

        self.run = engine(settings)
        self.tokenizer = Tokenizer.from_file(str(settings.file.parent / "tokenizer.json"))
        self.end = self.tokenizer.token_to_id(END)
        self.shape = json.loads((settings.file.parent / "cache.json").read_text())

    def decode(self, body: bytes) -> Text:
        """A JSON request of `prompt` and `max_new_tokens`."""
        asked = json.loads(body)
        return Text(self.tokenizer.encode(asked["prompt"]).ids, asked["max_new_tokens"])

    def answer(self, items: Sequence[Text]) -> list[dict[str, Any]]:
        """Whole texts, and how many tokens they have."""
        pieces = [*self.stream(items)]
        return [
            {"text": "".join(step[row]["text"] for step in pieces), "tokens": len(item.made)}
            for row, item in enumerate(items)
        ]

    def stream(self, items: Sequence[Text]) -> Iterator[list[dict[str, Any]]]:
        """After each pass, what is new of each text; the last has how many tokens there are."""
        from tokenizers.decoders import DecodeStream

        streams = [DecodeStream(item.ids, skip_special_tokens=True) for item in items]
        rows, (layers, heads, size) = len(items), self.shape
        names = [f"past.{layer}.{kind}" for layer in range(layers) for kind in ("key", "value")]
        cached = np.zeros(rows, np.int64)
        cache = [np.zeros((rows, heads, 1, size), np.float32) for _ in names]
        counts = [len(item.ids) for item in items]
        ids = np.zeros((rows, max(counts)), np.int64)
        for row, item in enumerate(items):
            ids[row, : len(item.ids)] = item.ids
        while True:
            past = dict(zip(names, cache, strict=True))
            logits, *new = self.run({"input_ids": ids, "past_tokens": cached, **past})
            room = -(-int((cached + counts).max()) // ROOM) * ROOM
            if room > cache[0].shape[2]:
                cache = [
                    np.pad(each, ((0, 0), (0, 0), (0, room - each.shape[2]), (0, 0)))
                    for each in cache
                ]
            for row, count in enumerate(counts):
                for mine, made in zip(cache, new, strict=True):
                    mine[row, :, cached[row] : cached[row] + count] = made[row, :, :count]
            cached = cached + counts
            said: list[dict[str, Any]] = []
            for row, item in enumerate(items):
                text = ""
                if not item.done:
                    token = int(logits[row, counts[row] - 1].argmax())
                    item.made.append(token)
                    item.done = token == self.end or len(item.made) == item.most
                    if token != self.end:
                        text = streams[row].step(self.tokenizer, token) or ""
                said.append({"text": text})
            if all(item.done for item in items):
                yield [
                    {**each, "tokens": len(item.made)}
                    for each, item in zip(said, items, strict=True)
                ]
                return
            yield said
            ids = np.array([item.made[-1:] for item in items], np.int64)
            counts = [1] * rows


KINDS: Mapping[str, type] = {
    "constant": Constant,
    "resnet50": ResNet,
    "digits": Digits,
    "minilm": MiniLm,
    "generation": Gpt,
}


def plain(file: Path | None = None) -> Any:
    """The model that a settings file names; by default the environment's PEER_SETTINGS."""
    file = file or Path(os.environ["PEER_SETTINGS"])
    said = json.loads(file.read_text())
    return KINDS[said["kind"]](Settings(**{**said, "file": file.parent / said["file"]}))


def engine(settings: Settings) -> Engine:
    """What runs the model, by the kind of its file."""
    if settings.file.suffix == ".xml":
        return _openvino(settings)
    if settings.file.suffix == ".onnx":
        return _onnxruntime(settings)
    if settings.file.suffix == ".pt":
        return _torchscript(settings)
    return _pytorch(settings)


def _openvino(settings: Settings) -> Engine:
    import openvino

    options: dict[str, object] = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": settings.threads,
        "INFERENCE_PRECISION_HINT": settings.precision,
        "ENABLE_CPU_PINNING": False,
    }
    model = openvino.Core().compile_model(str(settings.file), "CPU", options)
    request = model.create_infer_request()
    taken = [port.get_any_name() for port in model.inputs]

    def run(arrays: Arrays) -> list[np.ndarray]:
        given = {name: arrays[name] for name in taken} if len(taken) > 1 else [*arrays.values()]
        found = request.infer(given, share_inputs=True, share_outputs=False)
        return [found[place] for place in range(len(model.outputs))]

    return run


def _onnxruntime(settings: Settings) -> Engine:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(settings.file), options)
    taken = [each.name for each in session.get_inputs()]

    def run(arrays: Arrays) -> list[np.ndarray]:
        given = arrays if len(taken) > 1 else dict(zip(taken, arrays.values(), strict=True))
        found: list[np.ndarray] = session.run(None, {name: given[name] for name in taken})
        return found

    return run


def _torchscript(settings: Settings) -> Engine:
    import torch

    torch.set_num_threads(settings.threads)
    module = torch.jit.load(settings.file).eval()

    def run(arrays: Arrays) -> list[np.ndarray]:
        with torch.inference_mode():
            found = module(*map(torch.from_numpy, arrays.values()))
        return [each.numpy() for each in ((found,) if isinstance(found, torch.Tensor) else found)]

    return run


def _pytorch(settings: Settings) -> Engine:
    """Eager PyTorch, of weights as safetensors, or of a folder as Hugging Face writes them."""
    import torch

    if settings.threads:
        torch.set_num_threads(settings.threads)
    if settings.file.is_dir():
        from transformers import AutoModel

        module = AutoModel.from_pretrained(settings.file)
    else:
        from safetensors.torch import load_file

        from examples.resnet50 import model

        module = model()
        module.load_state_dict(load_file(settings.file))
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module.eval()

    def run(arrays: Arrays) -> list[np.ndarray]:
        given = {name: torch.from_numpy(each) for name, each in arrays.items()}
        bf16 = torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bf16")
        with torch.inference_mode(), bf16:
            found = module(**given)
        first = found if isinstance(found, torch.Tensor) else found[0]
        return [first.float().numpy()]

    return run
