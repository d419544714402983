"""What a request's body may be in Python, and how each kind of it travels."""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marsmith.errors import MarsmithError, reason

if TYPE_CHECKING:
    from PIL import Image

JSON, NPY, PNG = "application/json", "application/x-npy", "image/png"
MEDIA_TYPES = {".json": JSON, ".txt": "text/plain"}
"""Of files that aren't told by their first bytes."""
ALLOWED = (
    "bytes, a pathlib.Path of a file, a str (text), a PIL image, a NumPy array, a torch tensor, or"
    " what JSON has: dict, list, int, float, bool, None"
)
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
"""Of images that a PNG holds as they are."""


def encode(body: object) -> tuple[bytes, str]:
    """Encode a body as it travels.

    Args:
        body: bytes as they are; a `Path` is the file's bytes; an image is a PNG; an array, or a
            tensor, of numbers is an `.npy`, with its type and shape. All else is JSON: a str is
            text, never a path, and arrays in it are lists, files and images base64.

    Returns:
        The bytes, and their media type; "" for what tells by itself what it is.

    Raises:
        MarsmithError: it is something else, or can't be read.
    """
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body), ""
    if isinstance(body, Path):
        return read_file(body), media_type(body)
    if _is(body, "PIL.Image", "Image"):
        return _png(body), PNG  # type: ignore[arg-type]  # it is one
    if (array := _array(body)) is not None:
        return _npy(array), NPY
    try:
        return json.dumps(body, default=_within, allow_nan=False).encode(), JSON
    except (TypeError, ValueError, RecursionError) as error:
        hint = "a number that isn't known is None" if "Out of range float" in str(error) else ""
        raise MarsmithError(f"a body can't be JSON: {reason(error)}", hint) from error


def read_file(path: Path) -> bytes:
    """Read a file that is to be sent.

    Raises:
        MarsmithError: it can't be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise MarsmithError(
            f"the input {path} can't be read: {error.strerror}",
            "name a file that is there; a text itself is sent by `marsmith predict --text`",
        ) from error


def media_type(path: Path) -> str:
    """The media type of a file by its name; empty for what is told by its first bytes."""
    return MEDIA_TYPES.get(path.suffix.lower(), "")


def with_options(body: bytes, options: Mapping[str, object]) -> bytes:
    """Put options into a body that is JSON; one that isn't stays as it is, to be refused."""
    try:
        value: Any = json.loads(body)
    except ValueError:
        return body
    whole = value if isinstance(value, dict) else {"data": value}
    return encode({**whole, "parameters": {**(whole.get("parameters") or {}), **options}})[0]


def _is(value: object, module: str, name: str) -> bool:
    """Whether a value is of a class of a module, which is imported already if it is."""
    return isinstance(value, getattr(sys.modules.get(module), name, ()))


def _within(value: object) -> object:
    """What JSON has in the place of a value that it doesn't know."""
    if _is(value, "numpy", "generic"):
        return value.item()  # type: ignore[attr-defined]  # it is a number of NumPy's
    if (array := _array(value)) is not None:
        return array.tolist()
    if isinstance(value, (bytes, bytearray, memoryview, Path)) or _is(value, "PIL.Image", "Image"):
        return {"b64": base64.b64encode(encode(value)[0]).decode()}
    kind = type(value)
    raise MarsmithError(
        f"a body of {kind.__module__}.{kind.__qualname__} can't be sent; it may be {ALLOWED}",
        "send what the model's `describe` names, as one of these",
    )


def _array(value: object) -> Any:
    """A value as an array of NumPy's; None if it is neither that nor a tensor."""
    if _is(value, "torch", "Tensor"):
        tensor: Any = value
        try:
            tensor = tensor.detach().cpu()
            value = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
        except (RuntimeError, TypeError) as error:  # sparse, quantised, on no device
            raise MarsmithError(
                f"a tensor can't be sent: {reason(error)}", "send a dense one of plain numbers"
            ) from error
    if not _is(value, "numpy", "ndarray"):
        return None
    array: Any = value
    if _is(array, "numpy.ma", "MaskedArray"):
        raise MarsmithError("a masked array has no values where it is masked", "fill() it first")
    if array.dtype.kind not in "iufb":
        raise MarsmithError(
            f"an array of {array.dtype} can't be sent: it must be of numbers",
            "send a list of its values: array.tolist()",
        )
    return array


def _npy(array: Any) -> bytes:
    import numpy as np

    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _png(image: Image.Image) -> bytes:
    """Encode an image without loss, with what says how it lies and what its colours mean."""
    if image.mode not in MODES:
        raise MarsmithError(
            f"an image of mode {image.mode} has no PNG; one may be {', '.join(MODES)}",
            "send image.convert('RGB'), or the file that it came from, as bytes or a Path",
        )
    file = io.BytesIO()
    try:
        image.save(file, "PNG", exif=image.getexif(), compress_level=1)
    except (OSError, ValueError, SystemError) as error:
        raise MarsmithError(f"an image can't be sent: {reason(error)}") from error
    return file.getvalue()


def of_data(value: object) -> bytes:
    """A body of a model's data: bytes that say by themselves what they are, without a media type.

    Args:
        value: as `encode` takes it.
    """
    body, kind = encode(value)
    if kind == JSON and not body.startswith(b"{"):
        return b'{"data": ' + body + b"}"
    if kind == "text/plain":
        return of_data(body.decode("utf-8", "replace"))
    return body


def of_items(items: Sequence[object]) -> list[tuple[bytes, object] | bytes]:
    """The bodies of several items of data, each a body or a pair of one and what is expected."""
    return [
        (of_data(each[0]), each[1]) if isinstance(each, tuple) and len(each) == 2 else of_data(each)
        for each in items
    ]
