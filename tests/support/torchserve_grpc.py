"""gRPC stubs made from the descriptors within TorchServe's own jar, which ships no .proto files.

See: `inference.proto` in TorchServe's frontend, whose compiled form is read here.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import ts
from google.protobuf import any_pb2, descriptor_pb2, empty_pb2, message_factory
from google.protobuf.descriptor_pool import DescriptorPool

SERVICE = "org.pytorch.serve.grpc.inference.InferenceAPIsService"
CLASSES = {
    "google/rpc/status.proto": "com/google/rpc/StatusProto.class",
    "inference.proto": "org/pytorch/serve/grpc/inference/Inference.class",
}
# What a constant of each tag takes, in bytes after the tag. See: Java's JVMS, section 4.4.
SIZES = {3: 4, 4: 4, 5: 8, 6: 8, 7: 2, 8: 2, 9: 4, 10: 4, 11: 4, 12: 4, 15: 3, 16: 2, 18: 4}
UTF8, LONG_AND_DOUBLE = 1, (5, 6)


class Stubs:
    """The calls of TorchServe's inference service, as attributes, and the messages they take."""

    def __init__(self, channel: grpc.Channel) -> None:
        pool = _descriptors()
        service = pool.FindServiceByName(SERVICE)
        for method in service.methods:
            request = message_factory.GetMessageClass(method.input_type)
            answer = message_factory.GetMessageClass(method.output_type)
            streams = {(False, False): "unary_unary", (False, True): "unary_stream"}
            streams[True, True] = "stream_stream"
            make = getattr(channel, streams[method.client_streaming, method.server_streaming])
            path = f"/{SERVICE}/{method.name}"
            call = make(path, request.SerializeToString, answer.FromString)
            setattr(self, method.name, call)
            setattr(self, request.DESCRIPTOR.name, request)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def _descriptors() -> DescriptorPool:
    pool = DescriptorPool()
    for known in (any_pb2, empty_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    home = Path(ts.__file__).parent
    with zipfile.ZipFile(home / "frontend" / "model-server.jar") as jar:
        for file, name in CLASSES.items():
            (found,) = (s for s in _strings(jar.read(name)) if s.startswith(f"\n{chr(len(file))}"))
            described = descriptor_pb2.FileDescriptorProto.FromString(found.encode("latin-1"))
            assert described.name == file
            pool.Add(described)
    return pool


def _strings(code: bytes) -> Iterator[str]:
    """The strings in the constant pool of a Java class."""
    (count,) = struct.unpack_from(">H", code, 8)
    at, index = 10, 1
    while index < count:
        tag, at = code[at], at + 1
        if tag == UTF8:
            (size,) = struct.unpack_from(">H", code, at)
            text = code[at + 2 : at + 2 + size].replace(b"\xc0\x80", b"\0")
            yield text.decode("utf-8", "replace")
            at += 2 + size
        else:
            at += SIZES[tag]
        index += 2 if tag in LONG_AND_DOUBLE else 1
