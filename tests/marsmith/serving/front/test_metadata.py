"""A model's metadata, from what its handler says of itself."""

from __future__ import annotations

from handlers.schema import Json
from marsmith.errors import ServerError
from marsmith.serving import server
from marsmith.serving.front import metadata
from marsmith.serving.host.run_folder import ServerInfo
from tests.support.plans import model_plan


def test_a_handler_that_says_nothing_has_a_name_alone() -> None:
    def fails(_: object) -> Json:
        raise ServerError("no")

    said = metadata.of(model_plan("tiny"), {"example": {"body_base64": "AA=="}}, fails)
    assert said == {
        "name": "tiny", "versions": ["1.0"], "platform": "torchserve", "inputs": [], "outputs": [],
    }  # fmt: skip


def test_tensors_are_those_that_the_model_takes_and_answers(digits_server: ServerInfo) -> None:
    with server.client(digits_server) as client:
        described = client.describe("digits")["customizedMetadata"]
        assert isinstance(described, dict)
        said = metadata.of(
            model_plan("digits"), described, lambda body: client.predict("digits", body)
        )
    assert said["platform"] == "marsmith_torchscript"
    assert said["inputs"] == [{"name": "tensor", "datatype": "FP32", "shape": [-1, 1, 8, 8]}]
    assert said["outputs"] == [
        {"name": "labels", "datatype": "BYTES", "shape": [-1, -1]},
        {"name": "scores", "datatype": "FP32", "shape": [-1, -1]},
    ]
