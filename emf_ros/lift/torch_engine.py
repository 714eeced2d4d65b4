"""The model in torch: on the CPU, or on a GPU in half precision with a CUDA graph per bucket."""

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
        threads: number of CPU threads; it applies to all of torch in this process.

    Raises:
        EngineUnavailable: torch or the GPU cannot be used.
        EngineError: the weights do not load, or are of no lifting model.
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
            # Only the very first pass is slow, not the first of each batch size.
            self._run(np.zeros((1, *clip_shape(self.config)), dtype=np.float32))

    def _run(self, keypoints: np.ndarray) -> Lifted:
        import torch

        with torch.inference_mode():
            positions, log_scale = self._lifter(torch.from_numpy(keypoints))
            return positions.numpy(), laplace_stddev(log_scale.numpy())


@dataclass
class _Captured:
    """The graph of one bucket, and the buffers that it reads and writes, (bucket, T, J, 3 or 4).

    Attributes:
        graph: of the forward pass.
        given, lifted: input and output in pinned memory, which the GPU copies by itself.
        x, y: input and output on the GPU.
    """

    graph: torch.cuda.CUDAGraph
    given: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor
    lifted: torch.Tensor


class _CudaGraphs:
    """A lifter on a GPU; the graph of a bucket is captured when it is first needed."""

    def __init__(self, lifter: FusedLifter) -> None:
        import torch

        self._lifter = lifter
        # One memory pool for all: only one graph runs at a time.
        self._pool = torch.cuda.graph_pool_handle()
        self._captured: dict[int, _Captured] = {}

    def capture(self, buckets: tuple[int, ...]) -> None:
        """Capture the graphs of buckets, where there are none yet."""
        import torch

        with torch.inference_mode():
            for bucket in buckets:
                if bucket not in self._captured:
                    self._captured[bucket] = self._capture(bucket)

    def _capture(self, bucket: int) -> _Captured:
        import torch

        shape = (bucket, *clip_shape(self._lifter.config))
        given, x = torch.zeros(shape, pin_memory=True), torch.zeros(shape, device="cuda")
        # Libraries set themselves up at their first use, which cannot be captured. So a few passes
        # run before, on a stream of their own as captures do.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._lifter(x)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as a detector in this process, may use the GPU meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            positions, log_scale = self._lifter(x)
            # One tensor needs one copy to the host.
            y = torch.cat([positions, log_scale[..., None]], dim=-1)
        return _Captured(graph, given, x, y, torch.empty(y.shape, pin_memory=True))

    def run(self, keypoints: np.ndarray) -> Lifted:
        """Lift (b, T, J, 3), 1 <= b <= largest bucket; the next run overwrites the result."""
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
