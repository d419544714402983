"""What of a foreign archive a recipe can say, and what it can't."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from marsmith.foreign import source
from marsmith.foreign.examine import COMPILED, ONNX, PICKLE, PROGRAM, TORCHSCRIPT, Foreign
from marsmith.foreign.source import PROCESSING, HandlerSource

IMAGES: Mapping[str, object] = {
    "resize": 256,
    "crop": 224,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
"""The transforms of TorchServe's image_classifier and image_segmenter.

See: `ts/torch_handler/image_classifier.py`; their Resize samples bilinearly.
"""
TASKS = {
    "image_classifier": "image_classification",
    "image_segmenter": "semantic_segmentation",
    "vision_handler": "image_classification",
    "object_detector": "object_detection",
    "text_classifier": "adopted_texts:AdoptedTexts",
    "base_handler": "tensors",
}
CARRIED = {"object_detector": "detector", "text_classifier": "bag_of_words"}
"""What of `carried/adopted_model.py` makes a model of theirs one from tensors to tensors."""
CROPPED = ("image_classifier", "image_segmenter")
LONGEST_TEXT = 10_000
TEXTS: Mapping[str, object] = {
    "max_characters": LONGEST_TEXT,
    "max_tokens": 100_000,
    "defaults": {"top_k": 1000},
}
REFUSED = {
    "text_handler": "its words are cut by rules of its own and numbered by a pickled vocabulary,"
    " which no tokenizer file has: write a handler with --custom that does the same",
}
SOURCES = {TORCHSCRIPT: "torchscript", ONNX: "onnx", PROGRAM: "pt2"}
CODE = ("initialize", "preprocess", "inference", "postprocess", "handle")
TOP_K = 5


@dataclass(frozen=True)
class Adoption:
    """What becomes of an archive.

    Attributes:
        task: of the recipe.
        source: the key of the recipe's source; "factory" for a model file and its weights.
        factory: the function of `carried/adopted_model.py` that is the source; or empty.
        handler: settings of the recipe's `handler:` section.
        lost: what isn't carried over, a line each.
        refused: why there is no recipe; empty if there is one.
    """

    task: str = ""
    source: str = ""
    factory: str = ""
    handler: Mapping[str, object] = field(default_factory=dict)
    lost: tuple[str, ...] = ()
    refused: str = ""


def plan(found: Foreign) -> Adoption:
    """Say what a recipe for an archive would be."""
    if found.harmful:
        names = ", ".join(found.harmful)
        return Adoption(
            refused=f"a pickle in it names {names}, which no model needs: don't serve it"
        )
    if found.kind in REFUSED:
        return Adoption(refused=f"{found.kind}: {REFUSED[found.kind]}")
    if found.architecture and found.form in (PICKLE, "") and not found.model_file:
        return Adoption(
            refused=f"its files are a folder of transformers' with a {found.architecture}: unzip it"
            " and `marsmith build FOLDER --task TASK`"
        )
    if found.kind not in TASKS:
        return Adoption(
            refused=f"its handler {found.handler} is of no class of TorchServe's, so what its model"
            " takes isn't known: write a recipe for the model's file"
        )
    kind, why = _source(found)
    if not kind:
        return Adoption(refused=why)
    factory = CARRIED.get(found.kind, "")
    if factory and found.form not in (TORCHSCRIPT, PICKLE):
        return Adoption(
            refused=f"TorchServe's {found.kind} runs a module, and {found.model or 'its model'} is"
            f" {found.form or 'not known'}: name the file with --task, and say what it takes"
        )
    settings, lost = _settings(found)
    return Adoption(TASKS[found.kind], kind, factory, settings, tuple(lost))


def verdict(found: Foreign) -> str:
    """Say in one line what to do with an archive."""
    made = plan(found)
    if made.refused:
        return f"no recipe can be made of it: {made.refused}"
    what = f"`marsmith adopt` makes a recipe of it, of the task {made.task}"
    return f"{what}; {len(made.lost)} things of it are lost" if made.lost else what


def _source(found: Foreign) -> tuple[str, str]:
    if found.model_file:
        return "factory", ""
    if found.form in SOURCES:
        return SOURCES[found.form], ""
    reasons = {
        COMPILED: f"{found.model} is machine code for one kind of machine: adopt what it was"
        " compiled from",
        PICKLE: f"{found.model} is a pickle without the code that it belongs to: TorchServe can't"
        " load it either",
        "": f"it isn't known what {found.model or 'its model'} is",
    }
    return "", reasons[found.form]


def _settings(found: Foreign) -> tuple[dict[str, object], list[str]]:
    read = found.source
    lost = [] if read is None else [f"its own {name}()" for name in read.methods if name in CODE]
    if read and found.kind != "base_handler":
        lost += [f"its own {n}()" for n in read.methods if n not in CODE and n != "__init__"]
    if found.kind == "base_handler":
        lost.append("how it reads a request: ours takes tensors by their names")
        return {}, lost
    if found.kind == "text_classifier":
        return _of_texts(read, lost)
    settings: dict[str, object] = dict(IMAGES) if found.kind in CROPPED else {}
    if read and (processing := read.attribute(PROCESSING)):
        settings, unknown = source.transforms(processing)
        lost += unknown
    elif found.kind == "vision_handler":
        lost.append(f"{PROCESSING}: say in handler: what it does")
    settings["upright"] = False  # as TorchServe leaves images that lie on their side
    if read and (top := read.attribute("topk")) not in (None, str(TOP_K)):
        lost.append(f"topk = {top}: clients say it, top_k={top}; 5 is the default")
    if found.kind == "image_segmenter":
        settings.pop("crop", None)
        lost.append("the central crop: an answer is of the whole image, as runs of classes")
    if found.kind == "vision_handler":
        lost.append("what it answers: that it classifies is a guess")
    if found.kind == "object_detector":
        return _of_detections(read, settings, lost)
    return settings, lost


def _of_detections(
    read: HandlerSource | None, settings: dict[str, object], lost: list[str]
) -> tuple[dict[str, object], list[str]]:
    threshold = _number(read, "threshold", 0.5, lost)
    if "resize" in settings:
        lost.append("boxes in pixels of the resized image: ours are of the image that was sent")
    lost.append('the form of an answer: ours is {"label": ..., "score": ..., "box": ...} of each')
    options = {"score_threshold": threshold, "max_detections": 1000}
    return {**settings, "outputs": "final", "defaults": options}, lost


def _of_texts(read: HandlerSource | None, lost: list[str]) -> tuple[dict[str, object], list[str]]:
    ngrams = int(_number(read, "ngrams", 2, lost))
    lost.append('the form of an answer: ours is {"scores": {LABEL: ...}, ...}, the best first')
    lost.append(f"texts of more than {LONGEST_TEXT} characters: max_characters in handler:")
    return {"ngrams": ngrams, **TEXTS}, lost


def _number(read: HandlerSource | None, name: str, default: float, lost: list[str]) -> float:
    """The number that a handler of its own sets an attribute to."""
    said = read.attribute(name) if read else None
    try:
        return default if said is None else float(said)
    except ValueError:
        lost.append(f"{name} = {said}: {default} is taken")
        return default
