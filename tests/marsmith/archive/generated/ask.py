"""Ask a server through what openapi-python-client has written; print the answers, JSON by name.

Run in an environment of its own: ask.py ADDRESS KEY PICTURE.
"""

from __future__ import annotations

import json
import sys
from io import BytesIO
from pathlib import Path

from httpx import Timeout
from served import AuthenticatedClient
from served.api.new_image_classification import explain_new_image_classification as heat
from served.api.new_image_classification import predict_new_image_classification as label
from served.api.new_image_classification import predict_v1_new_image_classification as several
from served.api.new_image_classification import predict_v2_new_image_classification as tensors
from served.api.new_object_detection import predict_new_object_detection as detect
from served.api.new_question_answering import predict_new_question_answering as question
from served.api.new_tabular import predict_new_tabular as row
from served.models import (
    Error,
    NewImageClassificationAnswer,
    NewImageClassificationAnswerForm,
    NewImageClassificationAnswerOptions,
    NewImageClassificationAnswerRequest,
    NewImageClassificationAnswersRequest,
    NewImageClassificationAnswersResponse,
    NewImageClassificationExplanation,
    NewImageClassificationExplanationRequest,
    NewImageClassificationTensorsRequest,
    NewImageClassificationTensorsResponse,
    NewQuestionAnsweringAnswer,
    NewQuestionAnsweringAnswerForm,
    NewTabularAnswer,
    NewTabularAnswerRequest,
    NewTabularInstanceType0,
    Tensor,
    TensorDatatype,
)
from served.types import File

address, key, picture = sys.argv[1], sys.argv[2], Path(sys.argv[3])
encoded = picture.with_suffix(".b64").read_text()


def file() -> File:
    """The picture."""
    return File(BytesIO(picture.read_bytes()), "digit.png", "image/png")


with AuthenticatedClient(address, token=key, timeout=Timeout(60)) as api:
    said: dict[str, object] = {}
    asked = NewImageClassificationAnswerRequest(
        encoded, parameters=NewImageClassificationAnswerOptions(top_k=2)
    )
    found = label.sync(client=api, body=asked, x_request_id="mine")
    assert isinstance(found, NewImageClassificationAnswer)
    said["json"] = found.to_dict()
    found = label.sync(client=api, body=file())
    assert isinstance(found, NewImageClassificationAnswer)
    said["bytes"] = found.to_dict()
    form = NewImageClassificationAnswerForm(file(), top_k=2)
    found = label.sync(client=api, body=form)
    assert isinstance(found, NewImageClassificationAnswer)
    said["form"] = found.to_dict()
    many = several.sync(client=api, body=NewImageClassificationAnswersRequest([encoded, encoded]))
    assert isinstance(many, NewImageClassificationAnswersResponse)
    said["v1"] = [each.to_dict() for each in many.predictions]
    tensor = Tensor("image", [1], TensorDatatype.BYTES, [encoded])
    out = tensors.sync(client=api, body=NewImageClassificationTensorsRequest([tensor]))
    assert isinstance(out, NewImageClassificationTensorsResponse)
    said["v2"] = {each.name: each.data for each in out.outputs}
    why = heat.sync(client=api, body=NewImageClassificationExplanationRequest(encoded))
    assert isinstance(why, NewImageClassificationExplanation)
    said["explanation"] = why.to_dict()
    wrong = label.sync(
        client=api,
        body=NewImageClassificationAnswerRequest(
            encoded, parameters=NewImageClassificationAnswerOptions(top_k=0)
        ),
    )
    assert isinstance(wrong, Error)
    said["error"] = wrong.to_dict()
    boxes = detect.sync(client=api, body=file())
    assert isinstance(boxes, list)
    said["boxes"] = [each.to_dict() for each in boxes]
    parts = NewQuestionAnsweringAnswerForm(question="Who?", context="It was Ada.", top_k=1)
    answer = question.sync(client=api, body=parts)
    assert isinstance(answer, NewQuestionAnsweringAnswer)
    said["answer"] = answer.to_dict()
    known = NewTabularInstanceType0(age=40.0, town=None)
    prediction = row.sync(client=api, body=NewTabularAnswerRequest(known))
    assert isinstance(prediction, NewTabularAnswer)
    said["row"] = prediction.to_dict()
with AuthenticatedClient(address, token="nobody") as stranger:  # noqa: S106
    refused = label.sync_detailed(client=stranger, body=asked)
    assert isinstance(refused.parsed, Error)
    said["stranger"] = {"status": refused.status_code, "error": refused.parsed.error}
print(json.dumps(said))
