"""Zero-shot classification: a text and labels of the request's own in, how well each fits out.

The model tells whether a text entails a sentence, which is made of each label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from handlers.errors import BadRequest, ModelError
from handlers.protocols import json_text
from handlers.runtimes import Tensors
from handlers.schema import JsonObject, object_schema, setting
from handlers.task import Sample
from handlers.tasks.text_classification import TextLabels
from handlers.text import pairs, text
from handlers.text.pairs import Pairs, PairsHandler

PARTS = ("text", "candidate_labels")
PLACE = "{}"
MAX_TEMPLATE = 500  # characters; it is tokenised for each label
DECIMALS = 4  # of logits, by which labels are ranked
HINT = 'send {"text": "...", "candidate_labels": ["...", "..."]}'


@dataclass(frozen=True, kw_only=True)
class ZeroShotClassificationConfig(text.TextConfig):
    """How a text and a label become tokens, and which of the model's classes means what."""

    entailment: int = setting(-1, "The place of the class for what is entailed.", minimum=-1)
    candidate_labels: tuple[str, ...] = setting((), "The labels of requests that name none.")
    max_labels: int = setting(100, "The most labels of one text.", minimum=1)


@dataclass(frozen=True, kw_only=True)
class ZeroShotClassificationOptions(text.TextOptions):
    """The options of a request."""

    hypothesis_template: str = setting(
        "This example is {}.", "What a label makes true, which stands in the place of {}."
    )
    multi_label: bool = setting(
        False, "Score each label by itself; otherwise one is right, and scores sum up to 1."
    )
    top_k: int = setting(1000, "How many labels to answer; at most all there are.", minimum=1)


@dataclass(frozen=True)
class FittingLabels(TextLabels):
    """The labels that fit best, best first, and their scores; `tokens` are of all pairs."""

    ragged: ClassVar[Mapping[str, tuple[int, ...]]] = dict.fromkeys(("labels", "scores"), ())


_Sample = Sample[ZeroShotClassificationOptions, Pairs]


class ZeroShotClassification(
    PairsHandler[ZeroShotClassificationConfig, ZeroShotClassificationOptions]
):
    """Classifies texts by labels that come with them; the model answers (N, classes) logits.

    An instance is an object of a "text" and "candidate_labels", a list, or a string with commas
    between; or a text alone, where the settings have labels. Of a text that is too long the end is
    cut, never the label. Labels are ranked by their logits; those that are the same, to four
    decimals, stay in the request's order.

    See: W. Yin et al., Benchmarking Zero-shot Text Classification, 2019.
    """

    Config = ZeroShotClassificationConfig
    Options = ZeroShotClassificationOptions
    Answer = FittingLabels
    parts = PARTS

    def repeated(self, instance: object) -> tuple[str, int]:
        """The text, and the number of labels."""
        try:
            found, labels = self.read_labelled(instance)
        except BadRequest:  # `decode` refuses it, or knows what it is
            return "", 0
        return found, len(labels)

    def decode(self, instance: object, options: ZeroShotClassificationOptions) -> _Sample:
        """Convert a text with what each label says of it to tokens, a row each."""
        premise, labels = self.read_labelled(instance)
        template = text.read(options.hypothesis_template)
        _check_template(template)
        tensors, found = self.encoded(
            [(premise, template.replace(PLACE, label)) for label in labels],
            labels,
            truncate=options.truncate,
            truncation="only_first",
        )
        return Sample(tensors, options, found)

    def read_labelled(self, instance: object) -> tuple[str, list[str]]:
        """Read a text and its labels.

        Raises:
            BadRequest: it is something else, or has no labels, or too many, or one twice.
        """
        given: object = None
        if isinstance(instance, (str, bytes)) and text.read(instance).lstrip().startswith("{"):
            instance = text.parsed(instance, "an object must be JSON", HINT)
        if isinstance(instance, Mapping):
            instance, given = text.parts_of(instance, PARTS)
            if instance is None:
                raise BadRequest("the instance has no 'text'", hint=HINT)
        labels = [*self.config.candidate_labels] if given is None else _labels(given)
        if not labels:
            raise BadRequest("there are no candidate_labels", hint=HINT, status=422)
        if len(labels) > self.config.max_labels:
            raise BadRequest(
                f"{len(labels)} labels; at most {self.config.max_labels} are allowed", status=413
            )
        if len(set(labels)) < len(labels):
            raise BadRequest("some of the labels are the same", status=422)
        return text.read(instance), labels

    def answer(self, outputs: Tensors, samples: Sequence[_Sample]) -> list[FittingLabels]:
        """Score the labels of each text, and take the `top_k` of them."""
        found = pairs.logits(outputs, samples)
        classes = found[0].shape[1]
        if classes < 2 or self.config.entailment >= classes:
            raise ModelError(
                f"the model has {classes} classes, and 'entailment' is {self.config.entailment}"
            )
        return [self._scored(each, one) for each, one in zip(found, samples, strict=True)]

    def _scored(self, logits: torch.Tensor, sample: _Sample) -> FittingLabels:
        if not logits.isfinite().all():
            raise ModelError("the model's answer is not finite", hint="check the input")
        entails = logits[:, self.config.entailment]
        meta, options = sample.meta, sample.options
        if options.multi_label or len(entails) == 1:
            other = -1 if self.config.entailment == 0 else 0
            ranked = entails - logits[:, other]
            scores = torch.sigmoid(ranked)
        else:
            ranked, scores = entails, torch.softmax(entails, dim=0)
        order = ranked.double().round(decimals=DECIMALS).argsort(descending=True, stable=True)
        order = order[: options.top_k]
        labels = [meta.texts[place] for place in order.tolist()]
        return FittingLabels(labels, scores[order].tolist(), meta.tokens, meta.truncated)

    def example(self) -> tuple[str, bytes]:
        """A sentence, and two labels."""
        body = {"text": "The library opens at nine.", "candidate_labels": ["time", "money"]}
        return json_text.JSON, json_text.dump(body)

    def instance_schema(self) -> JsonObject:
        """A text, or one and the labels that it may have."""
        labels = {PARTS[1]: text.list_schema(self.config.max_labels)}
        return {"anyOf": [text.SCHEMA, object_schema({PARTS[0]: text.SCHEMA}, labels)]}

    def describe_input(self) -> dict[str, object]:
        """Describe what an instance may be, and how much of it is read."""
        found = super().describe_input()
        del found["text"]
        return {
            "candidates": '{"text": "...", "candidate_labels": ["...", "..."]}',
            **found,
            "candidate_labels": list(self.config.candidate_labels),
            "max_labels": self.config.max_labels,
        }


def _labels(given: object) -> list[str]:
    """Read labels: a list, also as JSON in a string, or a string with commas between."""
    if isinstance(given, (str, bytes)) and not (said := text.read(given)).lstrip().startswith("["):
        given = [label.strip() for label in said.split(",") if label.strip()]
    return text.read_list(given, PARTS[1], HINT)


def _check_template(template: str) -> None:
    if template.count(PLACE) != 1 or template.count("{") > 1 or template.count("}") > 1:
        raise BadRequest(
            "the hypothesis_template must have one {}, the label's place, and no other brace",
            hint="as in 'This example is {}.'",
            status=422,
        )
    if len(template) > MAX_TEMPLATE:
        raise BadRequest(
            f"the hypothesis_template has {len(template)} characters; at most {MAX_TEMPLATE} are "
            "allowed",
            status=413,
        )
