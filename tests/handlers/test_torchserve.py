"""Requests as a worker reads them from its socket, in blocks."""

from __future__ import annotations

import random
import socket
import threading

import pytest
from ts.protocol import otf_message_handler as codec

from handlers import torchserve
from marsmith.harness.wire import Request, encode_predict


@pytest.fixture(autouse=True)
def _blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "_retrieve_buffer", codec._retrieve_buffer)
    torchserve.read_ahead()


def test_requests_are_read_as_they_were_sent_however_they_come_in() -> None:
    chance = random.Random(0)
    sizes = [0, 1, 65_535, 65_536, 65_537, 300_000, 5, 1_000_000]
    batches = [
        [Request.raw(chance.randbytes(size)) for size in chance.choices(sizes, k=3)]
        for _ in range(12)
    ]
    here, there = socket.socketpair()

    def send() -> None:
        data = b"".join(map(encode_predict, batches))
        while data:
            size = chance.choice([1, 7, 5000, 70_000, 400_000])
            there.sendall(data[:size])
            data = data[size:]

    sender = threading.Thread(target=send)
    with here, there:
        sender.start()
        for batch in batches:
            command, said = codec.retrieve_msg(here)
            assert command == b"I"
            bodies = [each["parameters"][0]["value"] for each in said]
            assert bodies == [request.parameters[0].value for request in batch]
        sender.join()


@pytest.mark.parametrize("sent", [b"", b"I\0", encode_predict([Request.raw(bytes(400_000))])[:-9]])
def test_a_worker_ends_when_its_frontend_hangs_up(sent: bytes) -> None:
    here, there = socket.socketpair()

    def send() -> None:
        with there:
            there.sendall(sent)

    sender = threading.Thread(target=send)
    with here:
        sender.start()
        with pytest.raises(SystemExit) as ended:
            codec.retrieve_msg(here)
        sender.join()
    assert ended.value.code == 0
