"""Handlers of tiny models in TorchServe's own service and codec, in this process."""

from __future__ import annotations

import atexit
import io
import json
import logging
import shutil
import socket
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import ts
from torch import nn
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.protocol import otf_message_handler as codec
from ts.service import Service

from examples import keypad
from handlers import tasks, torchserve
from handlers.runtimes import Runtime, Tensors
from handlers.runtimes.eager import ModuleRuntime
from marsmith import columns
from marsmith.harness.wire import Request, Response, encode_predict, read_response
from tests.support import language_model, rents
from tests.support.tokenizer_files import WORDS, write_tokenizer

BATCH = 8
METRICS = Path(ts.__file__).parent / "configs" / "metrics.yaml"
CHAT = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
LABELS = ["no", "größe", "maybe"]
CPU = torch.device("cpu")


class Failures(logging.Handler):
    """Keeps the last error that a handler was not made for, which clients see as a bare 500."""

    error: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self.error = record.exc_info[1] if record.exc_info else None


class Line:
    """The worker's end of a connection: what it reads was given, what it sends is kept."""

    def __init__(self, given: bytes) -> None:
        self.given, self.sent = io.BytesIO(given), bytearray()

    def recv(self, size: int, flags: int = 0) -> bytes:
        if flags & socket.MSG_PEEK:
            return self.given.getvalue()[(begin := self.given.tell()) : begin + size]
        return self.given.read(size)

    def recv_into(self, place: memoryview) -> int:
        return self.given.readinto(place)

    def send(self, data: bytes) -> int:
        self.sent += data
        return len(data)

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def gettimeout(self) -> None: ...

    def settimeout(self, seconds: float | None) -> None: ...

    def setblocking(self, flag: bool) -> None: ...


class Worker:
    """A handler as TorchServe's worker runs it: decoded, asked and answered by its own code.

    Args:
        task: the handler's.
        runtime: its model.
        folder: what its archive has.
        section: of its `model-config.yaml`.
    """

    def __init__(self, task: str, runtime: Runtime, folder: Path, **section: Any) -> None:
        torchserve.leave_bodies()
        torchserve.read_ahead()
        torchserve.quieten()
        self.handler = tasks.find(task)()
        self.handler.configure({"task": task, **section}, folder)
        self.handler.use(runtime, batch_size=BATCH)
        self.folder = folder
        self.failures = Failures()
        logging.getLogger("handlers").addHandler(self.failures)
        logging.getLogger("handlers").propagate = False
        cached = MetricsCacheYamlImpl(config_file_path=str(METRICS))
        cached.initialize_cache()
        manifest = {"model": {"modelName": task, "modelVersion": "1.0"}}
        self._service = Service(
            task, str(folder), manifest, self.handler.handle, None, BATCH, metrics_cache=cached
        )
        media_type, body = self.handler.example()
        self.example = Request.raw(body, media_type)

    def ask(self, requests: Sequence[Request]) -> list[Response]:
        """Answer a batch; of a stream, its last message."""
        line = Line(encode_predict(requests))
        _, batch = codec.retrieve_msg(line)
        self._service.set_cl_socket(line)
        line.sendall(self._service.predict(batch))
        answered = Line(bytes(line.sent))
        said: dict[str, Response] = {}
        while answered.given.tell() < len(line.sent):
            frame = read_response(answered)  # type: ignore[arg-type]  # all of a socket that it asks for
            if frame.code != 200:
                return frame.answers(requests)
            said |= frame.responses
        return [said[request.request_id] for request in requests]


def folder() -> Path:
    """A folder with what most archives have; it is gone when the process ends."""
    made = Path(tempfile.mkdtemp(prefix="marsmith-fuzz-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    (made / "labels.json").write_text(json.dumps(LABELS))
    write_tokenizer(made / "tokenizer.json")
    return made


class Pooled(nn.Module):
    """Tokens and mask, (N, T), to means of embeddings, (N, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(len(WORDS), width)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        kept = attention_mask[..., None]
        states: torch.Tensor = self.embedding(input_ids) * kept
        return states.sum(dim=1) / kept.sum(dim=1).clamp(min=1)


class States(Pooled):
    """The same before it is pooled: (N, T, width)."""

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.embedding(input_ids)
        return states


def _of(module: nn.Module, *inputs: str) -> ModuleRuntime:
    module.eval()
    return ModuleRuntime(module, CPU, None, lambda: module, inputs=inputs or None)


class Weighted(nn.Module):
    """Rows of any count, (N, rows, 2), and as many weights to a bounded sum, (N, 2)."""

    def forward(self, rows: torch.Tensor, weights: torch.Tensor, scale: torch.Tensor) -> Any:
        return torch.nan_to_num(rows * weights[:, :, None] * scale[:, None, None]).tanh().sum(dim=1)


@cache
def tensors() -> Worker:
    inputs: dict[str, Any] = {
        "rows": {"shape": ["count", 2]},
        "weights": {"shape": ["count"], "datatype": "FP32"},
        "scale": {"shape": [], "default": 2},
    }
    return Worker("tensors", _of(Weighted(), *inputs), folder(), inputs=inputs)


class Recurrent(nn.Module):
    """A step, (N, 4), and a state, (N, 3), to the next state and its mean."""

    def forward(self, step: torch.Tensor, state: torch.Tensor) -> dict[str, torch.Tensor]:
        after = torch.nan_to_num(state * 0.5 + step.tanh()[:, :3]).tanh()
        return {"mean": after.mean(dim=1), "after": after}


@cache
def sequences() -> Worker:
    inputs = {"step": {"shape": [4]}, "state": {"shape": [3], "from_output": "after"}}
    return Worker("tensors", _of(Recurrent(), *inputs), folder(), inputs=inputs, max_sequences=50)


@cache
def tabular() -> Worker:
    made = folder()
    columns.write(rents.definition(), made)
    return Worker("tabular", _of(rents.model()), made, kind="regression")


@cache
def text_classification() -> Worker:
    section = {"labels": "labels.json", "max_tokens": 48}
    return Worker("text_classification", _of(Pooled(len(LABELS))), folder(), **section)


@cache
def text_embedding() -> Worker:
    return Worker("text_embedding", _of(States(16)), folder(), max_tokens=48)


@cache
def reranking() -> Worker:
    return Worker("reranking", _of(Pooled(1)), folder(), max_tokens=24)


@cache
def recommendation() -> Worker:
    made = folder()
    ids: list[object] = [f"item {n}" if n % 2 else n for n in range(60)]
    (made / "catalogue.json").write_text(json.dumps(ids))
    (made / "popularity.json").write_text(json.dumps([[each, 9] for each in ids[10:20]]))

    def run(inputs: Tensors) -> Tensors:
        return {"scores": torch.linspace(0, 1, len(ids)).repeat(len(inputs["history"]), 1)}

    return Worker("recommendation", run, made)


@cache
def text_generation() -> Worker:
    made = folder()
    language_model.tokenizer().save(str(made / "tokenizer.json"))
    shape = language_model.SHAPE
    section = {"layers": shape.layers, "key_value_heads": shape.heads, "head_size": shape.size}
    (made / "chat.jinja").write_text(CHAT)
    more: dict[str, Any] = {"stop_tokens": [language_model.END], "chat_template": "chat.jinja"}
    run = language_model.runtime()
    return Worker("text_generation", run, made, max_tokens=64, **more, **section)


def _means(inputs: Tensors) -> Tensors:
    return {"output": inputs["image"].mean(dim=(2, 3))}


@cache
def image_classification() -> Worker:
    section: dict[str, Any] = {"resize": [8, 12], "labels": "labels.json"}
    return Worker("image_classification", _means, folder(), **section)


@cache
def image_embedding() -> Worker:
    section: dict[str, Any] = {"resize": 8, "max_side": 40, "side_multiple": 4}
    section |= {"white_for_transparent": True, "max_pixels": 4_000_000}
    return Worker("image_embedding", _means, folder(), **section)


@cache
def semantic_segmentation() -> Worker:
    def run(inputs: Tensors) -> Tensors:
        return {"output": torch.nn.functional.avg_pool2d(inputs["image"], 2)}

    section: dict[str, Any] = {"resize": [16, 16], "letterbox": True, "labels": "labels.json"}
    return Worker("semantic_segmentation", run, folder(), **section)


def _power(inputs: Tensors) -> Tensors:
    power = (inputs["waveform"].double() ** 2).mean(dim=1)
    return {"output": torch.stack([power, -power, power * 0.5], dim=1).float()}


@cache
def audio_classification() -> Worker:
    section: dict[str, Any] = {"sample_rate": 8000, "labels": "labels.json", "max_seconds": 20.0}
    return Worker("audio_classification", _power, folder(), lengths=True, **section)


def _spoken(inputs: Tensors) -> Tensors:
    """As many frames of noise as there are letters, each of four samples."""
    frames = inputs["noise"].mean(dim=2).tanh()
    lasts = (inputs["attention_mask"].sum(dim=1) * 3 / inputs["speaking_rate"]).long()
    return {"wave": frames.repeat_interleave(4, dim=1), "lengths": lasts * 4}


@cache
def speech_synthesis() -> Worker:
    section: dict[str, Any] = {"noise_size": 3, "voices": ["ada", "größe"], "max_tokens": 40}
    section |= {"sampling_rate": 100, "max_seconds": 6.0}
    return Worker("speech_synthesis", _spoken, folder(), **section)


@cache
def speech_to_text() -> Worker:
    made = folder()
    torch.manual_seed(2)
    module = keypad.Listener()
    keypad.assets(nn.Identity(), made)
    section: dict[str, Any] = {"layers": 2, "key_value_heads": 4, "head_size": 16, "bands": 40}
    section |= {"window_frames": 200, "max_target_tokens": 16, "stride": keypad.STRIDE}
    section |= {"start_token": "<s>", "stop_tokens": ["</s>"], "max_seconds": 8.0}
    section |= {"suppressed_tokens": ["<pad>", "<s>", "<unk>"]}
    return Worker("speech_to_text", _of(module), made, **section)
