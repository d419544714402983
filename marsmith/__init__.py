"""A trained PyTorch model in, a verified archive that TorchServe serves out.

    import marsmith

    report = marsmith.build("my_model.yaml")             # model_store/my_model.mar
    report = marsmith.build(module, name=..., task=..., data=...)
    with marsmith.Harness("model_store/my_model.mar") as harness:
        ...                                              # in TorchServe's own worker, without Java
    server = marsmith.serve(["my_model"])

What is in `__all__` is for use; all else may change. Importing marsmith imports nothing else: each
name is looked up when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from marsmith.archive.reading import inspect
    from marsmith.client.asynchronous import AsyncClient
    from marsmith.client.clients import Client
    from marsmith.errors import MarsmithError
    from marsmith.harness.worker import Harness
    from marsmith.pipeline.build import build
    from marsmith.pipeline.convert import convert
    from marsmith.recipe.reading import load
    from marsmith.recipe.sections import Recipe
    from marsmith.report.report import Report
    from marsmith.serving.server import serve

__version__ = "0.2.0"

__all__ = [
    "AsyncClient", "Client", "Harness", "MarsmithError", "Recipe", "Report",
    "build", "convert", "inspect", "load", "serve",
]  # fmt: skip

_HOME = {
    "AsyncClient": "client.asynchronous",
    "Client": "client.clients",
    "Harness": "harness.worker",
    "MarsmithError": "errors",
    "Recipe": "recipe.sections",
    "Report": "report.report",
    "build": "pipeline.build",
    "convert": "pipeline.convert",
    "inspect": "archive.reading",
    "load": "recipe.reading",
    "serve": "serving.server",
}

_WITH_HANDLERS = ("build", "convert", "load")  # the others leave that name to one's own package


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _WITH_HANDLERS:
        importlib.import_module(f"{__name__}.our_handlers").claim()
    found: object = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
