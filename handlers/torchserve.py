"""TorchServe's `BaseHandler`, imported without its probes.

`ts.torch_handler.base_handler` imports every optional engine it finds, only to know whether it
is there: seconds of every worker's start, and hundreds of megabytes. See: the top of
ts/torch_handler/base_handler.py in TorchServe 0.12.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, TypedDict
from weakref import WeakKeyDictionary

from ts.protocol import otf_message_handler as codec

READ_BYTES = 65_536
PROBED = ("openvino", "onnxruntime", "torch_tensorrt", "torch_xla")


@contextmanager
def _unprobed() -> Iterator[None]:
    # None in sys.modules makes `import` fail at once; what was imported before stays.
    hidden = [name for name in PROBED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    logger = logging.getLogger("ts.torch_handler.base_handler")
    logger.disabled = True  # it would warn of each engine that it didn't find
    try:
        yield
    finally:
        logger.disabled = False
        for name in hidden:
            del sys.modules[name]


with _unprobed():
    from ts.torch_handler.base_handler import BaseHandler

__all__ = ["BaseHandler", "Context", "leave_bodies", "quieten", "read_ahead"]


class SystemProperties(TypedDict):
    """What TorchServe tells a worker about itself."""

    model_dir: str
    gpu_id: int | None
    batch_size: int | None


class Context(Protocol):
    """The part of TorchServe's context, of a worker and its batch at hand, that is used.

    See: ts/context.py in TorchServe 0.12.
    """

    model_name: str
    manifest: Mapping[str, Mapping[str, str]]
    model_yaml_config: Mapping[str, object] | None
    request_ids: dict[int, str]
    stopping_criteria: dict[int, Callable[[object], bool | None]] | None
    cl_socket: socket.socket

    @property
    def system_properties(self) -> SystemProperties: ...  # noqa: D102

    def get_all_request_header(self, idx: int) -> Mapping[str, object]: ...  # noqa: D102

    def set_response_status(self, code: int, phrase: str, idx: int) -> None: ...  # noqa: D102

    def set_response_content_type(self, idx: int, value: str) -> None: ...  # noqa: D102

    def set_response_header(self, idx: int, key: str, value: str) -> None: ...  # noqa: D102


def quieten() -> None:
    """Log nothing that a client can cause: each line makes a trip through the frontend.

    TorchServe logs every batch, and a traceback for every JSON body that it can't parse; a
    decoder quotes the image in its warnings. See: ts/protocol/otf_message_handler.py.
    """
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    root.addFilter(_not_of_a_request)
    warnings.simplefilter("ignore")


def _not_of_a_request(record: logging.LogRecord) -> bool:
    return "decoding of input data" not in str(record.msg)


def leave_bodies() -> None:
    """Make TorchServe hand requests over as bytes.

    It would parse all that says it is JSON, and so pay for a request before a handler can
    refuse it; see `payload.received`. It asks for this at every request.
    """
    os.environ["TS_DECODE_INPUT_REQUEST"] = "false"


def read_ahead() -> None:
    """Read requests from the frontend in blocks instead of field by field.

    TorchServe makes a system call for every length and every field of every header; in a
    profile of the digits model under load that was 18 % of a worker's time.
    See: _retrieve_buffer in ts/protocol/otf_message_handler.py.
    """
    blocks: WeakKeyDictionary[socket.socket, bytearray] = WeakKeyDictionary()
    last: socket.socket | None = None  # a worker has one connection, and asks it for each field
    block = bytearray()

    def retrieve(connection: socket.socket, length: int) -> bytearray:
        nonlocal last, block
        if connection is not last:
            last, block = connection, blocks.setdefault(connection, bytearray())
        if length - len(block) > READ_BYTES:
            return _read_long(connection, block, length)
        while len(block) < length:
            received = connection.recv(max(READ_BYTES, length - len(block)))
            if not received:
                sys.exit(0)  # the frontend has hung up
            block += received
        taken = block[:length]
        del block[:length]
        return taken

    codec._retrieve_buffer = retrieve


def _read_long(connection: socket.socket, block: bytearray, length: int) -> bytearray:
    """Read what is long into its own place, and nothing that follows; take what `block` has."""
    taken = bytearray(length)
    have = len(block)
    taken[:have] = block
    block.clear()
    with memoryview(taken) as place:
        while have < length:
            received = connection.recv_into(place[have:])
            if not received:
                sys.exit(0)  # as above
            have += received
    return taken
