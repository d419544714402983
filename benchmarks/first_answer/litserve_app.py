"""LitServe, as its first example is written."""

import os

import litserve
from fastapi import Request

from benchmarks.first_answer.plain import Plain


class Classifier(litserve.LitAPI):  # type: ignore[misc]  # not installed here
    """The plain classifier."""

    def setup(self, device: str) -> None:
        """Load it."""
        self.plain = Plain()

    def decode_request(self, request: Request) -> bytes:
        """The image of a form: raw bodies aren't taken."""
        content: bytes = request["data"].file.read()  # it gets the form, in fact
        return content

    def predict(self, body: bytes) -> dict[str, float]:
        """Answer an image."""
        return self.plain.answer(body)

    def encode_response(self, output: dict[str, float]) -> dict[str, float]:
        """Return the answer as it is."""
        return output


if __name__ == "__main__":
    server = litserve.LitServer(Classifier(), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(os.environ["PEER_PORT"]), generate_client_file=False)
