"""Reading of published checkpoints of TCPFormer without running code from them."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class PublishedError(ValueError):
    """A published checkpoint is missing, broken, unsafe, or of another kind of network."""


class _Unread:
    """Stand-in for a numpy scalar or its type; it ignores all arguments."""

    def __init__(self, *made_of: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


#: Names under which versions 1 and 2 of numpy save scalars. No code of numpy is called.
_ALLOWED = [
    (_Unread, "numpy.core.multiarray.scalar"),
    (_Unread, "numpy._core.multiarray.scalar"),
    (_Unread, "numpy.dtype"),
]


def read_checkpoint(path: Path) -> Any:
    if not path.is_file():
        raise PublishedError(f"there is no checkpoint {path}")
    try:
        with torch.serialization.safe_globals(_ALLOWED):  # type: ignore[arg-type]
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # A crafted or truncated file can raise any error. torch's message is cut: it continues with
        # advice on how to load the file unsafely.
        message = str(error).rpartition("WeightsUnpickler error: ")[2].strip()
        refused = re.search(r"GLOBAL (\S{1,200})", message)
        if isinstance(error, pickle.UnpicklingError) and refused:
            raise PublishedError(
                f"{path} is refused: reading it would take {refused[1]}, and weights need no such "
                "thing"
            ) from None
        reason = (message.splitlines() or [""])[0][:120]
        raise PublishedError(
            f"{path} is no checkpoint that torch can read: {type(error).__name__} {reason}"
        ) from None


def state_dict_in(stored: Any, path: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint, names without `module.`."""
    if isinstance(stored, dict) and "model" in stored:
        stored = stored["model"]
    if not isinstance(stored, dict) or not stored:
        raise PublishedError(f"{path} holds no state dict, neither under 'model' nor as a whole")
    others = [str(k) for k, v in stored.items() if not (isinstance(k, str) and _is_plain(v))]
    if others:
        raise PublishedError(
            f"{path} holds no state dict: {listed(others)} are no plain tensors of floating-point "
            "numbers"
        )
    if all(key.startswith("module.") for key in stored):
        return {key.removeprefix("module."): tensor for key, tensor in stored.items()}
    return dict(stored)


def _is_plain(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.is_floating_point()
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_nested
    )


def listed(names: list[str], most: int = 8) -> str:
    text = ", ".join(name[:120] for name in names[:most]) or "none"
    return f"{text} and {len(names) - most} more" if len(names) > most else text
