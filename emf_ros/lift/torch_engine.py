"""The model in torch: on a CUDA GPU in half precision, one CUDA graph per bucket, or on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..runtime.device import GpuUnavailable
from .batching import BUCKETS, Lifted, bucket_of, buckets_up_to, cpu_chunk, in_chunks
from .engine_base import (
    EngineError,
    EngineUnavailable,
    check_config,
    check_keypoints,
    clip_shape,
    first_line,
    laplace_stddev,
)

if TYPE_CHECKING:
    import torch

    from ..model.fused import FusedLifter


class TorchEngine:
    """The model in torch.

    Args:
        path: a .safetensors file.
        device: 'cuda' or 'cpu'.
        threads: of the CPU; they hold for all of torch in this process.

    Raises:
        EngineUnavailable: torch or the GPU cannot be used.
        EngineError: the weights do not load, or are of no use here.
    """

    def __init__(self, path: Path, device: str, threads: int) -> None:
        try:
            import torch

            from ..model.checkpoint import WeightsError, load_weights
            from ..model.fused import FusedLifter, half_inside
            from ..runtime.torch import check_cuda
        except ImportError as error:
            raise EngineUnavailable(f"{error.name} is not installed") from None
        if device == "cuda":
            try:
                check_cuda()
            except GpuUnavailable as error:
                raise EngineUnavailable(str(error)) from None
        try:
            lifter = load_weights(path)
        except WeightsError as error:
            raise EngineError(str(error)) from None
        check_config(path, lifter.config)
        self.device, self.config = device, lifter.config
        fused = FusedLifter(lifter)
        if device == "cuda":
            try:
                self._graphs: _CudaGraphs | None = _CudaGraphs(half_inside(fused).cuda())
                where = f"{torch.cuda.get_device_name()}, half precision, CUDA graphs"
            except RuntimeError as error:
                raise EngineUnavailable(first_line(error)) from None
            self._chunk = BUCKETS[-1]
        else:
            torch.set_num_threads(threads)
            self._graphs, self._lifter, self._chunk = None, fused, cpu_chunk(self.config)
            where = f"{threads} CPU threads"
        self.description = f"torch {torch.__version__} on {where}"

    def lift(self, keypoints: np.ndarray) -> Lifted:
        run = self._run if self._graphs is None else self._graphs.run
        return in_chunks(run, check_keypoints(keypoints, self.config), self._chunk)

    def warm_up(self, largest: int) -> None:
        if self._graphs is not None:
            self._graphs.capture(buckets_up_to(largest))
        else:
            # Only the very first pass is slow, not the first of each size.
            self._run(np.zeros((1, *clip_shape(self.config)), dtype=np.float32))

    def _run(self, keypoints: np.ndarray) -> Lifted:
        import torch

        with torch.inference_mode():
            positions, log_scale = self._lifter(torch.from_numpy(keypoints))
            return positions.numpy(), laplace_stddev(log_scale.numpy())


@dataclass
class _Captured:
    """One bucket's graph and the buffers that it reads and writes, (bucket, T, J, 3 or 4).

    Attributes:
        given, lifted: in pinned memory, which a GPU copies by itself.
        x, y: on the GPU.
    """

    graph: torch.cuda.CUDAGraph
    given: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor
    lifted: torch.Tensor


class _CudaGraphs:
    """A lifter on a GPU, each bucket captured when it is first wanted."""

    def __init__(self, lifter: FusedLifter) -> None:
        import torch

        self._lifter = lifter
        # One pool for all: no two graphs run at once, and the largest needs what all others do.
        self._pool = torch.cuda.graph_pool_handle()
        self._captured: dict[int, _Captured] = {}

    def capture(self, buckets: tuple[int, ...]) -> None:
        """Capture those of the buckets that are not captured yet."""
        import torch

        with torch.inference_mode():
            for bucket in buckets:
                if bucket not in self._captured:
                    self._captured[bucket] = self._capture(bucket)

    def _capture(self, bucket: int) -> _Captured:
        import torch

        shape = (bucket, *clip_shape(self._lifter.config))
        given, x = torch.zeros(shape, pin_memory=True), torch.zeros(shape, device="cuda")
        # What libraries set up at first use cannot be captured: a few passes go ahead, beside the
        # default stream, as captures do.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._lifter(x)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the GPU meanwhile: a detector in the same process does.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            positions, log_scale = self._lifter(x)
            # As one tensor, which is one copy back.
            y = torch.cat([positions, log_scale[..., None]], dim=-1)
        return _Captured(graph, given, x, y, torch.empty(y.shape, pin_memory=True))

    def run(self, keypoints: np.ndarray) -> Lifted:
        """Lift (b, T, J, 3), b from 1 to the largest bucket; what comes is overwritten next."""
        import torch

        people = len(keypoints)
        bucket = bucket_of(people)
        self.capture((bucket,))
        c = self._captured[bucket]
        with torch.inference_mode():
            given = c.given.numpy()
            given[:people], given[people:] = keypoints, 0.0
            c.x.copy_(c.given, non_blocking=True)
            c.graph.replay()
            c.lifted.copy_(c.y, non_blocking=True)
            torch.cuda.current_stream().synchronize()
            lifted = c.lifted.numpy()[:people]
        return lifted[..., :3], laplace_stddev(lifted[..., 3])
