"""BlazePose through MediaPipe's Tasks API."""

from __future__ import annotations

from collections import Counter

import numpy as np

from ..reasons import Reason
from ..skeletons import BLAZEPOSE33
from ..track.duplicates import without_duplicates
from ..types import Pose2D
from .protocol import DetectorError, body_joints, person_score


class MediaPipeDetector:
    """Detects several people; MediaPipe tracks their ROIs from frame to frame.

    Args:
        variant: 'lite', 'full' or 'heavy'.
        max_people: maximum number of people. Each costs a landmark inference per frame. With fewer
            people in the image the person detection runs in every frame. With a maximum of 1
            MediaPipe smooths the keypoints over time, otherwise not.
        min_score: minimum score of a reported person, 0..1, see `protocol.person_score`.

    Raises:
        DetectorError: MediaPipe or its weights are not available.
    """

    layout = BLAZEPOSE33

    def __init__(self, variant: str, max_people: int, min_score: float) -> None:
        from ..downloads.cache import DownloadError
        from .mediapipe_bundle import ensure_pose_task

        try:
            import mediapipe
            from mediapipe.tasks.python import BaseOptions, vision
        except ImportError as error:
            raise DetectorError(
                f"MediaPipe is not installed ({error}); pip install mediapipe"
            ) from None
        try:
            task = ensure_pose_task(variant)
        except DownloadError as error:
            raise DetectorError(str(error)) from None
        self._mediapipe = mediapipe
        self.description = f"mediapipe {mediapipe.__version__}, {variant}, on the CPU"
        self._max_people, self._min_score = max_people, min_score
        self._last_ns: int | None = None
        self._clock_ms = 0
        self._body = body_joints(self.layout)
        self.refused: Counter[Reason] = Counter()
        self._landmarker = vision.PoseLandmarker.create_from_options(
            vision.PoseLandmarkerOptions(
                base_options=BaseOptions(model_asset_path=str(task)),
                running_mode=vision.RunningMode.VIDEO,
                num_poses=max_people,
            )
        )

    def detect(self, image: np.ndarray, stamp_ns: int) -> list[Pose2D]:
        # MediaPipe needs rising stamps: its clock advances by the limited intervals of the images.
        step_ms = 33 if self._last_ns is None else (stamp_ns - self._last_ns) // 1_000_000
        self._clock_ms += int(np.clip(step_ms, 1, 1000))
        self._last_ns = stamp_ns
        frame = self._mediapipe.Image(
            image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image)
        )
        result = self._landmarker.detect_for_video(frame, self._clock_ms)
        height, width = image.shape[:2]
        people = []
        for landmarks, world in zip(
            result.pose_landmarks, result.pose_world_landmarks, strict=True
        ):
            keypoints = np.array(
                [(p.x * width - 0.5, p.y * height - 0.5, p.visibility) for p in landmarks]
            )
            if keypoints.shape != (len(self.layout), 3) or not np.isfinite(keypoints).all():
                continue
            keypoints[:, 2] = keypoints[:, 2].clip(0.0, 1.0)
            score = person_score(keypoints, self._body, (width, height))
            if score >= self._min_score:
                points = np.array([(p.x, p.y, p.z) for p in world])
                people.append(Pose2D(keypoints, score, world=points))
        return without_duplicates(people)

    def configure(self, max_people: int, min_score: float) -> None:
        if max_people != self._max_people:
            raise DetectorError(
                "max_people of the detector 'mediapipe' does not change live: restart the node"
            )
        self._min_score = min_score

    def restart(self) -> None:
        # MediaPipe's own tracking cannot be reset. Its gap of a second ends it.
        self._clock_ms += 1000

    def close(self) -> None:
        self._landmarker.close()
