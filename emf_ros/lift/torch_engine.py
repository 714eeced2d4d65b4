"""The model in torch: on the CPU, or on a GPU in half precision with a CUDA graph per bucket."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..runtime.device import BackendUnavailable
from ..runtime.gpu_errors import first_line, is_out_of_memory, is_sticky
from .batching import Lifted, buckets_up_to, cpu_chunk, in_chunks
from .engine_base import (
    EngineError,
    EngineUnavailable,
    check_config,
    check_keypoints,
    clip_shape,
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
        EngineUnavailable: torch cannot be used, or finds no GPU.
        EngineError: the weights do not load, or are of no lifting model.
        RuntimeError: the first pass on the GPU fails, such as without kernels for this GPU.
    """

    def __init__(self, path: Path, device: str, threads: int) -> None:
        try:
            import torch

            from ..model.checkpoint import WeightsError, load_weights
            from ..model.fused import FusedLifter, half_inside
            from ..runtime.torch import check_cuda
        except (ImportError, OSError) as error:  # a library of CUDA that is missing is an OSError
            raise EngineUnavailable(f"torch cannot be imported: {first_line(error)}") from None
        if device == "cuda":
            try:
                check_cuda()
            except BackendUnavailable as error:
                raise EngineUnavailable(str(error)) from None
        try:
            lifter = load_weights(path)
        except WeightsError as error:
            raise EngineError(str(error)) from None
        check_config(path, lifter.config)
        self.device, self.config = device, lifter.config
        fused = FusedLifter(lifter)
        if device == "cuda":
            self._graphs: _CudaGraphs | None = _CudaGraphs(half_inside(fused).cuda())
            self._graphs.capture((1,))
            where = f"{torch.cuda.get_device_name()}, half precision, CUDA graphs"
        else:
            torch.set_num_threads(threads)
            self._graphs, self._lifter, self._chunk = None, fused, cpu_chunk(self.config)
            where = f"{threads} CPU threads"
        self.description = f"torch {torch.__version__} on {where}"

    def lift(self, keypoints: np.ndarray) -> Lifted:
        keypoints = check_keypoints(keypoints, self.config)
        if self._graphs is None:
            return in_chunks(self._run, keypoints, self._chunk)
        return in_chunks(self._graphs.run, keypoints, self._graphs.largest)

    def limit(self, largest: int) -> None:
        if self._graphs is not None:
            self._graphs.limit(largest)

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
    """A lifter on a GPU, with a captured graph for each of some batch sizes.

    Nothing is captured while people are lifted: a batch takes the next larger graph, or several.
    """

    def __init__(self, lifter: FusedLifter) -> None:
        import torch

        self._lifter = lifter
        # One memory pool for all: only one graph runs at a time.
        self._pool = torch.cuda.graph_pool_handle()
        # The passes of the lifter are short. Those of a detector in this process make way for them.
        self._stream = torch.cuda.Stream(priority=-1)
        # Waiting for an event of this kind leaves the core to others.
        self._done = torch.cuda.Event(blocking=True)
        self._captured: dict[int, _Captured] = {}

    @property
    def largest(self) -> int:
        """The largest batch size that is captured."""
        return max(self._captured)

    def capture(self, buckets: tuple[int, ...]) -> None:
        """Capture the graphs of buckets, where there are none yet."""
        for bucket in buckets:
            if bucket not in self._captured:
                self._captured[bucket] = self._capture(bucket)

    def limit(self, largest: int) -> None:
        """Free the graphs of larger batches than this one."""
        self._captured = {size: c for size, c in self._captured.items() if size <= largest}

    def _capture(self, bucket: int) -> _Captured:
        import torch

        try:
            return self._try_to_capture(bucket)
        except RuntimeError as error:
            # The pool of a capture that has failed takes no other.
            self._pool = torch.cuda.graph_pool_handle()
            if is_out_of_memory(error) or is_sticky(error):
                raise
        # Another thread that synchronises the GPU breaks a capture.
        return self._try_to_capture(bucket)

    def _try_to_capture(self, bucket: int) -> _Captured:
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel

        shape = (bucket, *clip_shape(self._lifter.config))
        given, x = torch.zeros(shape, pin_memory=True), torch.zeros(shape, device="cuda")
        self._stream.wait_stream(torch.cuda.current_stream())
        # cuDNN's attention, which newer GPUs prefer, plans each shape for some tenths of a second.
        kinds = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
        with torch.inference_mode(), sdpa_kernel(kinds), torch.cuda.stream(self._stream):
            # Libraries set themselves up at their first use, which cannot be captured.
            self._forward(x)
            torch.cuda.synchronize()
            gc.collect()
            torch.cuda.empty_cache()
            graph = torch.cuda.CUDAGraph()
            # Other threads, such as a detector in this process, may use the GPU meanwhile.
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                y = self._forward(x)
            finally:
                graph.capture_end()
            return _Captured(graph, given, x, y, torch.empty(y.shape, pin_memory=True))

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, J, 4): positions and log scale; one tensor needs one copy to the host."""
        import torch

        positions, log_scale = self._lifter(x)
        return torch.cat([positions, log_scale[..., None]], dim=-1)

    def run(self, keypoints: np.ndarray) -> Lifted:
        """Lift (b, T, J, 3), 1 <= b <= `largest`; the next run overwrites the result."""
        import torch

        people = len(keypoints)
        c = self._captured[min(size for size in self._captured if size >= people)]
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            given = c.given.numpy()
            given[:people], given[people:] = keypoints, 0.0
            c.x.copy_(c.given, non_blocking=True)
            c.graph.replay()
            c.lifted.copy_(c.y, non_blocking=True)
            self._done.record(self._stream)
            self._done.synchronize()
            lifted = c.lifted.numpy()[:people]
        return lifted[..., :3], laplace_stddev(lifted[..., 3])
