"""Zero-shot image classification: an image and any labels in, how well each label fits out."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, cast

import torch
from torch.nn.functional import normalize, pad

from handlers import labels
from handlers.device import CPU
from handlers.errors import BadRequest, LoadError, ModelError
from handlers.images import handler
from handlers.images.pixels import Placement
from handlers.runtimes import Runtime, Tensors
from handlers.schema import setting
from handlers.task import Sample
from handlers.tasks.image_classification import ImageLabels
from handlers.text import text
from handlers.text.tokens import Encoder

MOST_LABELS = 1000  # of one request
LONGEST = 1000  # characters of a label, or of what it is put into
PLACE = "{}"


@dataclass(frozen=True, kw_only=True)
class ZeroShotConfig(handler.ImageConfig, text.TextConfig):
    """How images and labels become the model's inputs, and vectors become scores."""

    text_length: int | None = setting(
        None, "Pad every label to so many tokens, which the model reads, too.", minimum=1
    )
    attention_mask: bool = setting(True, "The model takes the mask of tokens as its third input.")
    scale: float = setting(100.0, "What cosines are multiplied by.")
    bias: float = setting(0.0, "What is added to them, after that.")
    activation: Literal["softmax", "sigmoid"] = setting(
        "softmax", "What makes scores: sigmoid where any number of labels may fit."
    )
    kept_labels: int = setting(
        10_000, "The vectors of so many labels are kept, those that were asked for last.", minimum=0
    )


@dataclass(frozen=True, kw_only=True)
class ZeroShotOptions:
    """The options of a request."""

    labels: tuple[str, ...] = setting(
        (), "The labels that the image is compared with.", max_items=MOST_LABELS
    )
    hypothesis_template: str = setting(
        "This is a photo of {}.", "What each label is put into, in place of {}."
    )


@dataclass(frozen=True)
class ImageBesideLabels(Placement):
    """Where an image lies, and what it is compared with.

    Attributes:
        vectors: of each text, (D,) float32; None of those that the model is given to read.
    """

    vectors: Mapping[str, torch.Tensor | None] = field(default_factory=dict)


_Sample = Sample[ZeroShotOptions, Placement]


class ZeroShotImageClassification(handler.ImageHandler[ZeroShotConfig, ZeroShotOptions]):
    """Compares images with labels; the vectors of labels are kept, so that each is read once.

    The model takes `image`, (N, C, H, W) float32, and the labels that are new to it beside each:
    `input_ids`, (N, K, T) int64, and, if the settings say so, `attention_mask`, likewise. It
    answers vectors of images, (N, D), and of labels, (N, K, D). Where no label is new, one token
    stands for one, and counts for nothing.
    """

    Config = ZeroShotConfig
    Options = ZeroShotOptions
    Answer = ImageLabels

    def setup(self, folder: Path) -> None:
        """Read the tokenizer; check the settings."""
        super().setup(folder)
        self.encoder = Encoder(folder / self.config.tokenizer, self.config)
        if self.config.token_types:
            raise LoadError("'token_types' are nothing that labels have", hint="leave it out")
        if not self.default_options.labels:
            raise LoadError(
                "there are no labels for requests that bring none, such as the first of a worker",
                hint="say some in the recipe: handler: {defaults: {labels: [a cat, a dog]}}",
            )
        self.kept = RecentVectors(self.config.kept_labels)

    def use(
        self,
        runtime: Runtime,
        *,
        batch_size: int = 1,
        device: torch.device = CPU,
        seconds: float = float("inf"),
    ) -> None:
        """Take a model to answer with, and forget the vectors of any other."""
        super().use(runtime, batch_size=batch_size, device=device, seconds=seconds)
        self.kept = RecentVectors(self.config.kept_labels)

    def decode(self, instance: object, options: ZeroShotOptions) -> _Sample:
        """Convert an image to pixels, and labels that are new to tokens."""
        texts = _texts(options)
        vectors = {each: self.kept.get(each) for each in texts}
        new = [each for each, vector in vectors.items() if vector is None]
        rows = [self._tokens(each) for each in new]
        image = super().decode(instance, options)
        tensors = {**image.tensors, **self._read(rows)}
        return Sample(tensors, options, ImageBesideLabels(**vars(image.meta), vectors=vectors))

    def _tokens(self, label: str) -> Tensors:
        tensors, tokens = self.encoder.encode(label)
        if tokens.truncated:
            raise BadRequest(
                f"a label has more than {self.config.max_tokens} tokens with what it is put into",
                hint="send shorter 'labels', or a shorter 'hypothesis_template'",
                status=422,
            )
        return tensors

    def _read(self, rows: Sequence[Tensors]) -> Tensors:
        """Combine tokens of texts, each (T,), into (K, T); of none, a token that counts for one."""
        if rows:
            found = self.encoder.pad(rows)
            missing = (self.config.text_length or 0) - found["input_ids"].shape[1]
            if missing > 0:
                found = self._wider(found, (0, missing))
        else:
            one = torch.ones(1, 1, dtype=torch.int64)
            found = {"input_ids": one * self.encoder.pad_id, "attention_mask": one}
        return found if self.config.attention_mask else {"input_ids": found["input_ids"]}

    def _wider(self, tokens: Tensors, by: tuple[int, ...]) -> Tensors:
        values = {"input_ids": self.encoder.pad_id, "attention_mask": 0}
        return {name: pad(each, by, value=values[name]) for name, each in tokens.items()}

    def group_key(self, sample: Sample[object, Placement]) -> Hashable:
        """Let images whose labels are known share a batch, and those with as many new ones."""
        image, tokens = sample.tensors["image"], sample.tensors["input_ids"]
        return image.shape, image.dtype, tokens.shape

    def collate(self, samples: Sequence[Sample[object, Placement]]) -> Tensors:
        """Combine into `image`, (N, C, H, W) float32, and tokens, (N, K, T) int64."""
        images = [replace(each, tensors={"image": each.tensors["image"]}) for each in samples]
        names = [name for name in samples[0].tensors if name != "image"]
        tokens = {name: torch.stack([each.tensors[name] for each in samples]) for name in names}
        return {**super().collate(images), **tokens}

    def typical(self, samples: Sequence[_Sample]) -> Tensors:
        """Images with labels that are known."""
        known = self._read([])
        return self.collate([replace(s, tensors={**s.tensors, **known}) for s in samples])

    def varying_axes(self) -> dict[str, tuple[int, ...]]:
        """How many labels are new, and how long they are."""
        names = ["input_ids", "attention_mask"] if self.config.attention_mask else ["input_ids"]
        return {**super().varying_axes(), **dict.fromkeys(names, (1, 2))}

    def answer(self, outputs: Tensors, samples: Sequence[_Sample]) -> list[ImageLabels]:
        """Compare each image with its labels; keep the vectors of those that were new."""
        images, texts = _vectors(outputs, len(samples))
        return [self._answer(*each) for each in zip(images, texts, samples, strict=True)]

    def _answer(self, image: torch.Tensor, texts: torch.Tensor, sample: _Sample) -> ImageLabels:
        known, read = cast(ImageBesideLabels, sample.meta).vectors, iter(texts)
        vectors = []
        for each, vector in known.items():
            vectors.append(next(read).clone() if vector is None else vector)
            self.kept.put(each, vectors[-1])
        logits = self.config.scale * (torch.stack(vectors) @ image) + self.config.bias
        scores = labels.ACTIVATIONS[self.config.activation](logits)
        order = scores.argsort(descending=True, stable=True).tolist()
        names = sample.options.labels
        return ImageLabels([names[i] for i in order], scores[order].tolist())

    def describe_input(self) -> dict[str, object]:
        """Describe what an instance may be, and what its labels."""
        bounds = {"most": MOST_LABELS, "characters": LONGEST, "tokens": self.config.max_tokens}
        return {**super().describe_input(), "labels": bounds}


class RecentVectors:
    """The vectors of texts; of too many, those that were asked for last. Threads may share it.

    Args:
        most: how many.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._lock = threading.Lock()
        self._vectors: OrderedDict[str, torch.Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._vectors)

    def get(self, text: str) -> torch.Tensor | None:
        """The vector of a text; None if there is none."""
        with self._lock:
            found = self._vectors.get(text)
            if found is not None:
                self._vectors.move_to_end(text)
            return found

    def put(self, text: str, vector: torch.Tensor) -> None:
        """Keep the vector of a text."""
        with self._lock:
            self._vectors[text] = vector
            self._vectors.move_to_end(text)
            while len(self._vectors) > self.most:
                self._vectors.popitem(last=False)


def _texts(options: ZeroShotOptions) -> list[str]:
    """What the model reads of each label.

    Raises:
        BadRequest: there are no labels, two are equal, or something is too long.
    """
    template = text.read(options.hypothesis_template)
    if PLACE not in template:
        raise BadRequest("'hypothesis_template' has no {} for the label", status=422)
    if not options.labels:
        raise BadRequest("there are no 'labels' to compare with", status=422)
    if len(set(options.labels)) < len(options.labels):
        raise BadRequest("two of the 'labels' are equal", hint="send each once", status=422)
    longest = max(len(template), *map(len, options.labels))
    if longest > LONGEST:
        raise BadRequest(
            f"a label, or 'hypothesis_template', has {longest} characters; at most {LONGEST} are "
            "allowed",
            status=413,
        )
    return [template.replace(PLACE, text.read(each)) for each in options.labels]


def _vectors(outputs: Tensors, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors of images, (N, D), and of labels, (N, K, D), scaled to length 1."""
    found = [each.float() for each in outputs.values()]
    shapes = [tuple(each.shape) for each in found]
    if [len(each) for each in shapes] != [2, 3] or {each[0] for each in shapes} != {count}:
        raise ModelError(f"the model answers (N, D) and (N, K, D), this one {shapes}")
    if not all(torch.isfinite(each).all() for each in found):
        raise ModelError("the model's answer is not finite", hint="check the input")
    images, texts = (normalize(each, dim=-1) for each in found)
    return images, texts
