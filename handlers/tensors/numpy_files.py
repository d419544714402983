"""Arrays in NumPy's own files: `.npy` has one, `.npz` has several by name. Never a pickle.

See: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from handlers.errors import BadRequest

Array = NDArray[np.generic]
NPY, NPZ = "application/x-npy", "application/x-npz"
MAGIC = b"\x93NUMPY"
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")  # the latter of one without any array
MAX_BYTES = 2**29
"""Of all arrays of a file together: a compressed file may be a thousand times as large inside."""
MAX_ARRAYS = 1000


def read(data: bytes) -> Array | dict[str, Array]:
    """Read a file.

    Returns:
        The array of an `.npy`, or those of an `.npz` by name.

    Raises:
        BadRequest: it is neither, is damaged, too large, or holds anything but numbers.
    """
    if data.startswith(MAGIC):
        return _read_array(data, "the array")
    if not data.startswith(ZIP_MAGIC):
        raise BadRequest(
            "the body is neither JSON, .npy nor .npz",
            hint="send what numpy.save or numpy.savez wrote, or JSON as application/json",
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_ARRAYS or sum(e.file_size for e in entries) > MAX_BYTES:
                raise BadRequest(
                    f"the .npz is too large: at most {MAX_ARRAYS} arrays of {MAX_BYTES} bytes"
                    " together are read",
                    status=413,
                )
            return {
                entry.filename.removesuffix(".npy"): _read_array(
                    archive.read(entry), f"array {entry.filename[:80]!a}"
                )
                for entry in entries
            }
    except (zipfile.BadZipFile, zipfile.LargeZipFile, OSError, EOFError) as error:
        raise BadRequest(f"the .npz is damaged: {str(error)[:200]!a}") from None
    except (NotImplementedError, RuntimeError, ValueError) as error:  # a method, a password
        raise BadRequest(f"the .npz can't be read: {str(error)[:200]!a}") from None
    except Exception as error:  # decompressors have errors of their own
        if isinstance(error, BadRequest):
            raise
        raise BadRequest("the .npz is damaged") from None


def opened(instance: object) -> object:
    """The array of an instance that is an `.npy`; any other as it is.

    Raises:
        BadRequest: it is a damaged one.
    """
    if isinstance(instance, bytes) and instance.startswith(MAGIC):
        return np.array(_read_array(instance, "the array"))  # a copy: one that may be written to
    return instance


def _read_array(data: bytes, where: str) -> Array:
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, by_column, dtype = read_header(file, max_header_size=10_000)
    except Exception:  # the header is a Python literal: any error may come of it
        raise BadRequest(f"{where} has no header of an .npy file") from None
    if dtype.hasobject or dtype.kind not in "iufb":
        raise BadRequest(f"{where} must hold numbers, not {str(dtype)[:80]}", status=422)
    rest = memoryview(data)[file.tell() :]
    if len(rest) != math.prod(shape) * dtype.itemsize:
        raise BadRequest(f"{where} has {len(rest)} bytes, which do not fit its shape and type")
    array = np.frombuffer(rest, np.uint8 if dtype.kind == "b" else dtype)
    if dtype.kind == "b":
        array = array != 0
    native = array.reshape(shape, order="F" if by_column else "C")
    # Not `ascontiguousarray`, which makes one dimension of none.
    return np.asarray(native, native.dtype.newbyteorder("="), order="C")


def write(arrays: Mapping[str, Array]) -> bytes:
    """Write an `.npz`."""
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]  # a name may be any string
    return file.getvalue()


def write_one(array: Array) -> bytes:
    """Write an `.npy`."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
