"""What a handler is by its source, without running any of it."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from marsmith import imports

BUILT_IN = {
    "BaseHandler": "base_handler",
    "VisionHandler": "vision_handler",
    "ImageClassifier": "image_classifier",
    "ImageSegmenter": "image_segmenter",
    "ObjectDetector": "object_detector",
    "TextHandler": "text_handler",
    "TextClassifier": "text_classifier",
}
"""TorchServe's classes of handlers, and its modules that have them."""
PROCESSING = "image_processing"


@dataclass(frozen=True)
class HandlerSource:
    """What the file of a handler says.

    Attributes:
        kind: the module of TorchServe's that it is a kind of; empty for anything else.
        classes: those that it defines.
        methods: those of its one class.
        attributes: what its one class sets, as source.
        function: whether it has a function `handle`.
    """

    kind: str = ""
    classes: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
    function: bool = False

    def attribute(self, name: str) -> str | None:
        """The source of what its class sets a name to."""
        return dict(self.attributes).get(name)


def read(file: Path) -> HandlerSource:
    """Read the file of a handler.

    Raises:
        SyntaxError: it isn't Python, or is nested too deep.
    """
    try:
        return _read(imports.parsed(file).body)
    except RecursionError as error:
        raise SyntaxError("it is nested too deep") from error


def _read(body: list[ast.stmt]) -> HandlerSource:
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    functions = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    names = tuple(node.name for node in classes)
    if len(classes) != 1:
        return HandlerSource(classes=names, function="handle" in functions)
    (only,) = classes
    bases = [ast.unparse(base).rpartition(".")[2] for base in only.bases]
    methods = [n.name for n in only.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    attributes = [
        (ast.unparse(target), ast.unparse(node.value))
        for node in only.body
        if isinstance(node, ast.Assign)
        for target in node.targets
    ]
    return HandlerSource(
        kind=next((BUILT_IN[base] for base in bases if base in BUILT_IN), ""),
        classes=names,
        methods=tuple(methods),
        attributes=tuple(attributes),
        function="handle" in functions,
    )


def transforms(source: str) -> tuple[dict[str, object], list[str]]:
    """Read `transforms.Compose([...])` of torchvision's.

    Returns:
        The settings of an image handler of ours that do the same, and a line for each step that
        none does.
    """
    try:
        call = ast.parse(source, mode="eval").body
    except (SyntaxError, RecursionError, MemoryError):  # as Python writes what it could read
        return {}, [f"{PROCESSING} is too deep to be read"]
    steps = call.args[0] if isinstance(call, ast.Call) and _name(call) == "Compose" else None
    if not isinstance(steps, (ast.List, ast.Tuple)):
        return {}, [f"{PROCESSING} = {source} is no list of transforms that can be read"]
    settings: dict[str, object] = {}
    unknown: list[str] = []
    order: list[str] = []
    for step in steps.elts:
        name = _name(step) if isinstance(step, ast.Call) else ""
        try:
            said = _step(name, step) if isinstance(step, ast.Call) else None
        except (ValueError, TypeError):  # not a literal
            said = None
        if said is None:
            unknown.append(f"the step {ast.unparse(step)} of {PROCESSING}")
            continue
        settings |= said
        order.append(name)
    expected = [name for name in ORDER if name in order]
    if order != expected:
        unknown.append(f"the order of {PROCESSING}, {', '.join(order)}: ours is {', '.join(ORDER)}")
    if "ToTensor" not in order:
        unknown.append(f"{PROCESSING} without ToTensor: ours makes a tensor of numbers in [0, 1]")
    return settings, unknown


ORDER = ("Grayscale", "Resize", "CenterCrop", "ToTensor", "Normalize")
NAMED = {
    "Resize": ("size", "interpolation", "max_size", "antialias"),
    "CenterCrop": ("size",),
    "ToTensor": (),
    "Normalize": ("mean", "std", "inplace"),
    "Grayscale": ("num_output_channels",),
}
METHODS = {"NEAREST": "nearest", "BILINEAR": "bilinear", "BICUBIC": "bicubic", "LANCZOS": "lanczos",
           "BOX": "box", "HAMMING": "hamming"}  # fmt: skip


def _name(call: ast.expr) -> str:
    return ast.unparse(call.func).rpartition(".")[2] if isinstance(call, ast.Call) else ""


def _step(name: str, call: ast.Call) -> dict[str, object] | None:
    """The settings for one step; None where there are none."""
    if name not in NAMED or len(call.args) > len(NAMED[name]):
        return None
    nodes = dict(zip(NAMED[name], call.args, strict=False))
    nodes |= {str(each.arg): each.value for each in call.keywords}
    if set(nodes) - set(NAMED[name]):
        return None
    settings: dict[str, object] = {}
    if interpolation := nodes.pop("interpolation", None):
        method = METHODS.get(ast.unparse(interpolation).rpartition(".")[2])
        if method is None:
            return None
        settings["interpolation"] = method
    said = {key: ast.literal_eval(node) for key, node in nodes.items()}
    if name == "Resize":
        if said.get("max_size"):
            settings["max_side"] = said["max_size"]
        return {"resize": _size(said["size"]), **settings}
    if name == "CenterCrop":
        return {"crop": _size(said["size"])}
    if name == "Normalize":
        one = len(said["mean"]) == 1
        known: dict[str, object] = {"mean": list(said["mean"]), "std": list(said["std"])}
        return {**known, "greyscale": True} if one else known
    if name == "Grayscale":
        return {"greyscale": True} if said.get("num_output_channels", 1) == 1 else None
    return {}


def _size(size: object) -> object:
    if isinstance(size, (list, tuple)):
        return size[0] if len(size) == 1 else [int(each) for each in size]
    return size
