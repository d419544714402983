"""What serving needs is read from what travels, and from what is installed."""

from __future__ import annotations

from importlib.metadata import version

from marsmith.archive import packages

IMAGES, ONNX = "handlers.tasks.image_classification", "handlers.runtimes.onnx"
EVERYWHERE = {"numpy", "pillow", "pyyaml", "torch", "torchserve"}


def test_the_engine_and_what_every_server_has_are_needed() -> None:
    found = packages.needed([IMAGES, ONNX], [])
    assert EVERYWHERE | {"onnxruntime"} <= set(found)
    assert {"openvino", "tokenizers", "marsmith", "pytest"}.isdisjoint(found)
    assert found["onnxruntime"].named_by == ("handlers/runtimes/onnx.py",)
    assert found["onnxruntime"].version == version("onnxruntime")
    assert packages.EVERY_SERVER in found["torch"].named_by
    assert "onnxruntime" not in packages.needed([IMAGES, "handlers.runtimes.torchscript"], [])


def test_a_task_brings_what_it_imports_within_functions() -> None:
    found = packages.needed(["handlers.tasks.text_classification", ONNX], [])
    assert found["tokenizers"].named_by == ("handlers/text/tokens.py",)


def test_what_is_declared_is_needed_and_what_that_needs_in_turn() -> None:
    found = packages.needed([], [f"RapidFuzz=={version('rapidfuzz')}", "requests==2"])
    assert found["rapidfuzz"].named_by == ("requirements.txt",)
    assert "urllib3" in found["requests"].requires
    assert found["urllib3"].named_by == ()
    assert {name for each in found.values() for name in each.requires} <= set(found)


def test_packages_say_their_licence_and_are_hashed() -> None:
    found = packages.needed([IMAGES, ONNX], [])
    assert (found["pillow"].licence, found["pillow"].spdx) == ("MIT-CMU", True)
    assert (found["torchserve"].licence, found["torchserve"].spdx) == (
        "Apache License Version 2.0",
        False,
    )
    digests = {found[name].sha256 for name in EVERYWHERE}
    assert len(digests) == len(EVERYWHERE)
    assert None not in digests
