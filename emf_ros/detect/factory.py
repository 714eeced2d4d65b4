"""Makes the detectors by name."""

from __future__ import annotations

from collections.abc import Callable

from ..runtime.device import to_stderr
from .budget import DetectionBudget
from .protocol import Detector, DetectorError

#: Names of the backends, as the node's parameter `detector` takes them.
BACKENDS = ("mediapipe", "blazepose", "onnx")


def make_detector(
    backend: str,
    variant: str,
    max_people: int,
    min_score: float,
    model: str = "",
    device: str = "auto",
    world_landmarks: bool = False,
    say: Callable[[str], None] = to_stderr,
    budget: DetectionBudget | None = None,
) -> Detector:
    """Make a detector.

    Args:
        backend: one of `BACKENDS`.
        variant: size of the model, as the backend names it; not for 'onnx'.
        max_people: maximum number of people.
        min_score: minimum score of a reported person, 0..1.
        model: path of the user's .onnx file; for 'onnx' only.
        device: 'auto', 'cuda' or 'cpu', see `runtime.device`; for 'onnx' and 'blazepose'.
        world_landmarks: compute `Pose2D.world`, too; not for 'onnx'.
        say: takes a line for the log, when a GPU fails; by default it goes to stderr.
        budget: of the time for person detection and verification, for live images; not for
            'mediapipe'. None for no limit, with which the same images give the same people.

    Raises:
        DetectorError: the backend, its model or the device is not available.
    """
    if model and backend != "onnx":
        raise DetectorError(
            f"the detector {backend!r} takes no model; leave the model out, or use 'onnx'"
        )
    if backend == "onnx":
        if world_landmarks:
            raise DetectorError("the detector 'onnx' has no world landmarks; use 'blazepose'")
        from .onnx import OnnxPoseDetector

        return OnnxPoseDetector(model, max_people, min_score, device, say, budget)
    if backend == "mediapipe":
        from .mediapipe import MediaPipeDetector

        if device == "cuda":
            raise DetectorError(
                "a GPU is required and cannot be used: 'mediapipe' runs on the CPU only"
            )
        return MediaPipeDetector(variant, max_people, min_score)
    if backend == "blazepose":
        from .blazepose import BlazePoseDetector

        return BlazePoseDetector(
            variant,
            max_people,
            min_score,
            device,
            world_landmarks=world_landmarks,
            say=say,
            budget=budget,
        )
    raise DetectorError(f"unknown detector {backend!r}; known: {', '.join(BACKENDS)}")
