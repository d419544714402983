from __future__ import annotations

import pytest

from marsmith.serving.ray.paths import UNKNOWN, AskedPath


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/predictions/m", AskedPath("predict", "m", own=True)),
        ("/predictions/m/2.0", AskedPath("predict", "m", "2.0", own=True)),
        ("/predictions/m/v1/embeddings", AskedPath("predict", "m", None, "v1/embeddings", True)),
        ("/predictions/m/2/v1/rerank", AskedPath("predict", "m", "2", "v1/rerank", True)),
        ("/explanations/m", AskedPath("explain", "m")),
        ("/v1/models/m:predict", AskedPath("predict", "m")),
        ("/v1/models/m:explain", AskedPath("explain", "m")),
        ("/v1/models/m", AskedPath("v1_ready", "m")),
        ("/v2/models/m/infer", AskedPath("predict", "m")),
        ("/v2/models/m/versions/3/ready", AskedPath("model_ready", "m", "3")),
        ("/descriptions/m", AskedPath("describe", "m")),
        ("/v1/chat/completions", AskedPath("predict", openai="v1/chat/completions")),
        ("/rerank", AskedPath("predict", openai="v1/rerank")),
        ("/v1/models", AskedPath("models")),
        ("/ping", AskedPath("ping")),
        ("/predictions/m/1/more", AskedPath(UNKNOWN, "m", "1", own=True)),
        ("/predictions/..", AskedPath(UNKNOWN, "..", own=True)),
        ("/", AskedPath(UNKNOWN)),
        ("/models", AskedPath(UNKNOWN)),
    ],
)
def test_a_path_says_what_is_asked(path: str, expected: AskedPath) -> None:
    assert AskedPath.of(path) == expected
