"""The processes that train together, and the one run that a folder holds."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..io.progress import say


@contextmanager
def only_run_in(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Hold a folder for this run: a second one would overwrite its state with an older one.

    The folder is created. The system releases it when the process ends, however it ends. Of the
    processes that `torchrun` started, the first holds it for all.

    Raises:
        ValueError: another run holds it.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    if int(os.environ.get("RANK", "0")):
        yield
        return
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        raise ValueError(
            f"another run is training in {folder}; wait for it or give --out another folder"
        ) from None
    except OSError as error:  # some network file systems lock no folders
        say(f"nothing keeps a second run out of {folder}: {error.strerror}")
    try:
        yield
    finally:
        os.close(held)


@dataclass(frozen=True)
class Processes:
    """The processes of a run: one, unless `torchrun` started several."""

    rank: int = 0
    count: int = 1

    @classmethod
    def join(cls, device: torch.device) -> Processes:
        """Join the processes that `torchrun` describes in the environment, if there are any."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1:
            return cls()
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(dist.get_rank(), dist.get_world_size())

    def leave(self) -> None:
        """Leave the other processes at the end of the run."""
        if self.count > 1:
            dist.destroy_process_group()

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def agree(self, value: float, device: torch.device) -> float:
        """The value of the first process, in all processes."""
        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=device)
        dist.broadcast(shared, 0)
        return float(shared)

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all processes, in all processes."""
        if self.count == 1:
            return [tensor]
        out: list[Any] = [None] * self.count
        dist.all_gather_object(out, tensor)
        return out
