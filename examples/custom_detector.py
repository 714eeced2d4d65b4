"""Track a video with a detector of your own: python3 custom_detector.py VIDEO

This one runs BlazePose on every third image, and optical flow on those between.
"""

import sys

import cv2
import numpy as np

from emf_ros import Camera, Pose2D, SkeletonTracker
from emf_ros.detect.factory import make_detector
from emf_ros.io.video import frames_of, open_source


class FlowDetector:
    description = "BlazePose on every third image, optical flow between"

    def __init__(self) -> None:
        self._blazepose = make_detector("blazepose", "full", max_people=8, min_score=0.2)
        self.layout, self.refused = self._blazepose.layout, self._blazepose.refused
        self._people, self._grey, self._count = [], None, 0

    def detect(self, image: np.ndarray, stamp_ns: int) -> list[Pose2D]:
        before, self._grey = self._grey, cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        if self._count % 3 == 0:
            self._people = self._blazepose.detect(image, stamp_ns)
        else:
            self._people = [self._moved(person, before) for person in self._people]
        self._count += 1
        return self._people

    def _moved(self, person: Pose2D, before: np.ndarray) -> Pose2D:
        points = person.keypoints[:, :2].astype(np.float32)
        points, found, _ = cv2.calcOpticalFlowPyrLK(before, self._grey, points, None)
        scores = person.keypoints[:, 2] * found[:, 0]
        return Pose2D(np.column_stack([points, scores]), person.score)

    def configure(self, max_people: int, min_score: float) -> None:
        self._blazepose.configure(max_people, min_score)

    def restart(self) -> None:
        self._blazepose.restart()
        self._people, self._grey, self._count = [], None, 0

    def close(self) -> None:
        self._blazepose.close()


video = open_source(sys.argv[1])
camera = Camera.from_fov(*video.size, 60)
with SkeletonTracker(camera, detector=FlowDetector) as tracker:
    for _, stamp, image in frames_of(video):
        for person in tracker(image, stamp):
            print(f"{stamp:.3f}", person.id, person.state.name, person.root, person.joint("nose"))
