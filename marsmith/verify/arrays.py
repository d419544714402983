"""Data in NumPy's own files: what a model was given, and what it gave, as a script saved it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard

import numpy as np

from handlers.tensors import numpy_files
from handlers.tensors.numpy_files import Array
from marsmith.errors import BuildError, reason
from marsmith.recipe.live_data import LiveData
from marsmith.recipe.reading import ARRAY_FILES


def named(data: str | LiveData) -> TypeGuard[str]:
    """Whether a recipe's data is such a file, instead of a "module:function" or in memory."""
    return isinstance(data, str) and data.endswith(ARRAY_FILES)


def bodies(path: Path) -> list[bytes]:
    """The rows of a file's arrays as request bodies: an `.npz` each, or an `.npy`.

    Args:
        path: of arrays whose first dimension is the same number of instances.

    Raises:
        BuildError: it isn't such a file.
    """
    return [
        numpy_files.write(row) if isinstance(row, Mapping) else numpy_files.write_one(row)
        for row in rows(path)
    ]


def rows(path: Path) -> list[Array | Mapping[str, Array]]:
    """The rows of the arrays of an `.npz`, by name, or of the one of an `.npy`.

    Raises:
        BuildError: it can't be read, or its arrays aren't of the same number of rows.
    """
    try:
        found = np.load(path, allow_pickle=False)
        arrays = dict(found) if isinstance(found, np.lib.npyio.NpzFile) else {"": found}
    except Exception as error:  # the header of an array is a Python literal
        raise BuildError(
            f"{path} can't be read: {reason(error)}",
            "write it with numpy.savez(file, name=array, ...), or numpy.save",
        ) from error
    sizes = {name: len(array) if array.ndim else None for name, array in arrays.items()}
    if len({*sizes.values()}) != 1 or not all(sizes.values()):
        shapes = ", ".join(f"{name or 'the array'} {a.shape}" for name, a in arrays.items())
        raise BuildError(
            f"{path.name} has {shapes or 'no array'}: the first dimension must be the instances,"
            " and as many in each"
        )
    if "" in arrays:
        return list(arrays[""])
    return [dict(zip(arrays, row, strict=True)) for row in zip(*arrays.values(), strict=True)]
