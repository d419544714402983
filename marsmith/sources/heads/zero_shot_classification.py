"""A model of natural language inference: whether a text entails what a label says of it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from handlers.tasks.zero_shot_classification import PLACE, ZeroShotClassification
from marsmith.errors import BuildError
from marsmith.recipe.sections import Untouched
from marsmith.sources.heads import _on_tokens, _untouched

AUTO = "AutoModelForSequenceClassification"


def wrap(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Wrap a model from tokens to logits, (N, classes)."""
    return _on_tokens.OnTokens(model)


def untouched(
    folder: Path, instances: Sequence[object], handler: Mapping[str, object]
) -> Untouched:
    """What transformers' own pipeline makes of texts and labels: logits, and scores."""
    model, tokenizer = _untouched.read(folder, AUTO)
    task = ZeroShotClassification()
    task.config, options = ZeroShotClassification.settings(dict(handler))
    asked = [task.read_labelled(each) for each in instances]
    transformers: Any = importlib.import_module("transformers")
    ask = transformers.pipeline("zero-shot-classification", model=model, tokenizer=tokenizer)
    own = bool(model.config.label2id) and handler.get("entailment") == ask.entailment_id
    limit = tokenizer.model_max_length = task.config.max_tokens
    template = options.hypothesis_template
    answers: list[object] = []
    for premise, labels in asked if own else ():
        found = ask(premise, labels, hypothesis_template=template, multi_label=options.multi_label)
        answers.append({"scores": dict(zip(found["labels"], found["scores"], strict=True))})
    outputs = [
        _untouched.together(
            model, tokenizer, [(premise, template.replace(PLACE, label)) for label in labels], limit
        )
        for premise, labels in asked
    ]
    return Untouched(answers or [None] * len(asked), outputs)


def bring(module: torch.nn.Module, folder: Path, out: Path) -> Mapping[str, object]:
    """Bring the tokenizer, and say which class is for what is entailed.

    Raises:
        BuildError: no class of config.json is named so.
    """
    known = _classes(module.model.config)  # type: ignore[union-attr]
    # As transformers' own pipeline finds it, which takes the last one where there is none.
    named = [place for label, place in known.items() if label.lower().startswith("entail")]
    if not named:
        raise BuildError(
            f"no class of {folder.name} is for what is entailed: {', '.join(known)}",
            "name it 'entailment' in label2id and id2label of config.json, if the model tells that",
        )
    return {**_on_tokens.bring(module, folder, out), "entailment": int(named[0])}


def _classes(config: Any) -> dict[str, int]:
    """The places of the classes, by name."""
    known = config.label2id or {label: place for place, label in config.id2label.items()}
    return {str(label): int(place) for label, place in known.items()}
