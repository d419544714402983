"""LitServe: two workers, batches of eight that wait 5 ms; a constant in none, a text in pieces."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import litserve
from fastapi import Request

from benchmarks.peers.plain import plain


class Whole(litserve.LitAPI):  # type: ignore[misc]  # not installed here
    """A model that answers at once."""

    def setup(self, device: str) -> None:
        """Load it."""
        self.plain = plain()

    def decode_request(self, request: Request) -> Any:
        """Decode a file of a form, or JSON: raw bodies aren't taken."""
        return self.plain.decode(content(request))  # it gets the form or the JSON, in fact

    def batch(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """Keep them as they are: the model stacks them."""
        return inputs

    def predict(self, inputs: Sequence[Any]) -> Any:
        """Answer a batch."""
        return self.plain.answer(inputs)

    def unbatch(self, output: Any) -> Any:
        """Return the answers one by one."""
        return output

    def encode_response(self, output: Any) -> Any:
        """Return an answer as it is."""
        return output


class Single(Whole):
    """A model that gains nothing from batches."""

    def predict(self, inputs: Any) -> Any:
        """Answer one request."""
        return self.plain.answer([inputs])[0]


class Streamed(Whole):
    """A model that answers piece by piece."""

    def predict(self, inputs: Sequence[Any]) -> Iterator[Any]:
        """Write a batch of texts."""
        yield from self.plain.stream(inputs)

    def unbatch(self, output: Iterator[Any]) -> Iterator[Any]:
        """Return the pieces of all texts, pass by pass."""
        yield from output

    def encode_response(self, output: Iterator[Any]) -> Any:  # which FastAPI reads
        """Write each piece as a line of JSON."""
        for step in output:
            yield [json.dumps(piece) + "\n" for piece in step]


def content(request: Mapping[str, Any]) -> bytes:
    """What was sent, as a raw body has it."""
    if "data" in request:
        found: bytes = request["data"].file.read()
        return found
    return request["text"].encode() if "text" in request else json.dumps(dict(request)).encode()


if __name__ == "__main__":
    kind = {"whole": Whole, "single": Single, "streamed": Streamed}[os.environ["PEER_ANSWERS"]]
    size = 1 if kind is Single else 8
    api = kind(max_batch_size=size, batch_timeout=0.005, stream=kind is Streamed)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=2, timeout=60)
    server.run(host="127.0.0.1", port=int(os.environ["PEER_PORT"]), generate_client_file=False)
