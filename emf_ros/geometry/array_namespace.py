"""One set of functions for numpy arrays and torch tensors.

The names and meanings are those of the array API standard (data-apis.org), which numpy follows from
version 2 on. Numpy before it and torch lack some of them; these are here.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


class _Numpy:
    """Numpy's functions, and those that numpy 1 lacks."""

    def __getattr__(self, name: str) -> Any:
        # Kept: a missing attribute is a slow way to a function that is called all the time.
        function = self.__dict__[name] = getattr(np, name)
        return function

    @staticmethod
    def asarray(values: Any, like: np.ndarray) -> np.ndarray:
        return np.asarray(values, dtype=like.dtype)

    @staticmethod
    def empty(shape: tuple[int, ...], like: np.ndarray) -> np.ndarray:
        return np.empty(shape, dtype=like.dtype)

    @staticmethod
    def astype(array: np.ndarray, dtype: Any) -> np.ndarray:
        return array.astype(dtype)

    @staticmethod
    def concat(arrays: list[np.ndarray], axis: int) -> np.ndarray:
        return np.concatenate(arrays, axis=axis)

    @staticmethod
    def matrix_transpose(array: np.ndarray) -> np.ndarray:
        return np.swapaxes(array, -1, -2)


class _Torch:
    """Torch's functions, which take numpy's names of arguments, and those that torch lacks."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._torch, name)

    @staticmethod
    def asarray(values: Any, like: Any) -> Any:
        return like.new_tensor(values)

    @staticmethod
    def empty(shape: tuple[int, ...], like: Any) -> Any:
        return like.new_empty(shape)

    @staticmethod
    def astype(array: Any, dtype: Any) -> Any:
        return array.to(dtype)

    @staticmethod
    def matrix_transpose(array: Any) -> Any:
        return array.mT


_NUMPY = _Numpy()


def array_namespace(array: Any) -> Any:
    """The functions for an array, of numpy or of torch.

    They are those of the array API standard, except that `asarray(values, like)` and
    `empty(shape, like)` take type and device from another array.
    """
    # A tensor exists only where torch is imported already.
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(array, torch.Tensor):
        return _Torch(torch)
    return _NUMPY
