"""People in the frame of the room, seen by a camera that moves: how still a still person stands.

A person stands 4 m in front of a robot, and keypoints have a detector's noise. Transforms come at
50 Hz. The stamps of the images may be off from those of the transforms, as on real robots.

python benchmarks/moving_camera.py
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from emf_ros.body.rotations import quaternions
from emf_ros.geometry.camera import Camera
from emf_ros.geometry.transform_tree import TransformTree
from emf_ros.geometry.transforms import Transform
from emf_ros.lift.config import PipelineConfig
from emf_ros.lift.engine import Engine, make_engine
from emf_ros.lift.pipeline import LiftPipeline
from emf_ros.lift.reference_frames import ReferenceFrames
from emf_ros.reasons import Reason
from emf_ros.runtime.machine import machine
from emf_ros.types import Frame2D, Pose2D

LENS = Camera.from_fov(1280, 720, 70.0)
#: Height of the camera over the floor, m.
HEIGHT_M = 1.3
#: Standard deviation of a keypoint along each axis, px: 1 % of a person at 4 m.
NOISE_PX = 4.0
#: Time constant of that noise, s: errors of a detector last for some images.
NOISE_S = 0.1
#: Length of a run, s, and of its beginning that does not count, s.
RUN_S, BEGIN_S = 8.0, 1.0

_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])

#: Joints of h36m17 of a person who faces the robot, m: right of the image, down, away.
_PERSON = np.array(
    [
        (0, 0, 0),
        *((-0.1, 0, 0), (-0.1, 0.4, 0), (-0.1, 0.8, 0)),
        *((0.1, 0, 0), (0.1, 0.4, 0), (0.1, 0.8, 0)),
        *((0, -0.25, 0), (0, -0.5, 0), (0, -0.65, -0.12), (0, -0.8, 0)),
        *((0.18, -0.5, 0), (0.18, -0.2, 0), (0.18, 0.05, 0)),
        *((-0.18, -0.5, 0), (-0.18, -0.2, 0), (-0.18, 0.05, 0)),
    ],
    dtype=float,
)
#: The same in the room, whose x axis points from the robot to the person.
STANDING = _PERSON @ _OPTICAL.T + (4.0, 0.5, 0.88)


@dataclass(frozen=True)
class Case:
    """A robot's movement.

    Attributes:
        name: in the table.
        pan_rad, ahead_m: of the head and of the base, by the time in s.
        rate_hz: of the camera.
        late_s: by which the images' stamps are too new.
    """

    name: str
    pan_rad: Callable[[float], float] = lambda t: 0.0
    ahead_m: Callable[[float], float] = lambda t: 0.0
    rate_hz: float = 30.0
    late_s: float = 0.0

    def camera(self, t: float) -> Transform:
        """From the camera to the room."""
        c, s = math.cos(self.pan_rad(t)), math.sin(self.pan_rad(t))
        turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        return Transform(turn @ _OPTICAL, np.array([self.ahead_m(t), 0.0, HEIGHT_M]))


def turns(speed: float) -> Callable[[float], float]:
    """A head that turns to and fro by 0.35 rad, at most at this speed, rad/s."""
    return lambda t: 0.35 * math.sin(speed / 0.35 * t)


CASES = (
    Case("at rest"),
    Case("head turns, 0.3 rad/s", turns(0.3)),
    Case("head turns, 1.1 rad/s", turns(1.1)),
    Case("the same, camera at 10 Hz", turns(1.1), rate_hz=10.0),
    Case("the same, stamps 20 ms too new", turns(1.1), late_s=0.02),
    Case("base comes closer, 0.3 m/s", ahead_m=lambda t: 0.3 * t),
)


def run(engine: Engine, case: Case, target: str) -> tuple[np.ndarray, np.ndarray]:
    """Roots (N, 3) m and speeds (N,) m/s of the person, image by image."""
    tree = TransformTree()
    for step in range(round((RUN_S + 0.5) * 50)):
        camera = case.camera(step / 50)
        place, turn = camera.translation.tolist(), quaternions(camera.rotation).tolist()
        tree.add("odom", "camera", step * 20_000_000, place, turn)

    class Log:
        counts: Counter[Reason] = Counter()

        def warn_once(self, key: str, text: str) -> None:
            print(text)

    pipeline = LiftPipeline(engine, PipelineConfig())
    pipeline.set_camera(LENS)
    if target:
        pipeline.frames = ReferenceFrames(tree, target, "", "", Log())
    rng, error = np.random.default_rng(0), np.zeros((17, 2))
    keep = math.exp(-1 / case.rate_hz / NOISE_S)
    roots, speeds = [], []
    for index in range(round(RUN_S * case.rate_hz)):
        t = 0.1 + index / case.rate_hz
        fresh = NOISE_PX * math.sqrt(1 - keep**2) * rng.standard_normal((17, 2))
        error = keep * error + fresh
        pixels = LENS.project(case.camera(t).inverse().points(STANDING)) + error
        people = [Pose2D(np.concatenate([pixels, np.ones((17, 1))], axis=-1), track_id=1)]
        stamp_ns = round((t + case.late_s) * 1e9)
        result = pipeline.update(Frame2D(stamp_ns, "camera", "h36m17", LENS.size, people))
        if t > BEGIN_S and result is not None and result.people[0].root_valid:
            roots.append(result.people[0].root)
            speeds.append(float(np.linalg.norm(result.people[0].velocity)))
    return np.array(roots), np.array(speeds)


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    engine = make_engine("lite", None, "cpu", threads=1)
    print(machine())
    print("| camera | speed in odom, m/s | place in odom, std, m | speed in its own frame, m/s |")
    print("|---|---|---|---|")
    for case in CASES:
        roots, speeds = run(engine, case, "odom")
        _, own = run(engine, case, "")
        spread = np.sqrt(roots.var(axis=0)[:2])
        print(
            f"| {case.name} | {np.median(speeds):.2f}, p95 {np.percentile(speeds, 95):.2f} "
            f"| {spread[0]:.3f} along, {spread[1]:.3f} across "
            f"| {np.median(own):.2f}, p95 {np.percentile(own, 95):.2f} |"
        )


if __name__ == "__main__":
    main()
