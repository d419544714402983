"""LitServe: two workers, batches of eight that wait 5 ms."""

import os
from collections.abc import Sequence

import litserve
import numpy as np
from fastapi import Request

from benchmarks.peers.plain import Answer, Plain


class Classifier(litserve.LitAPI):  # type: ignore[misc]  # not installed here
    """The plain classifier."""

    def setup(self, device: str) -> None:
        """Load it."""
        self.plain = Plain()

    def decode_request(self, request: Request) -> np.ndarray:
        """Decode an image of a form: raw bodies aren't taken."""
        return self.plain.decode(request["data"].file.read())  # it gets the form, in fact

    def batch(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Keep them as they are: the classifier stacks them."""
        return inputs

    def predict(self, images: Sequence[np.ndarray]) -> list[Answer]:
        """Answer a batch."""
        return self.plain.answer(images)

    def unbatch(self, output: list[Answer]) -> list[Answer]:
        """Return the answers one by one."""
        return output

    def encode_response(self, output: Answer) -> Answer:
        """Return an answer as it is."""
        return output


if __name__ == "__main__":
    api = Classifier(max_batch_size=8, batch_timeout=0.005)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=2)
    server.run(host="127.0.0.1", port=int(os.environ["PEER_PORT"]), generate_client_file=False)
