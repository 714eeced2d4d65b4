"""The velocity of people who have just come into view, by the number of their images.

People with swinging legs walk, run or stand before a camera at rest, at 30 Hz. Keypoints have a
detector's noise. Sizes differ as those of adults do.

python benchmarks/velocity.py
"""

from __future__ import annotations

import argparse
import math

import numpy as np

from emf_ros.geometry.camera import Camera
from emf_ros.lift.config import PipelineConfig
from emf_ros.lift.engine import make_engine
from emf_ros.lift.pipeline import LiftPipeline
from emf_ros.runtime.machine import machine
from emf_ros.skeletons import H36M17
from emf_ros.types import Frame2D, Pose2D

LENS = Camera.from_fov(1280, 720, 80.0)
RATE_HZ = 30.0
#: Number of images, and those that the table shows.
IMAGES, SHOWN = 33, (4, 6, 8, 10, 12, 15, 20, 27, 33)
#: Distances of the people in the first image, m.
DISTANCES_M = (2.5, 4.5, 8.0)
#: Number of people of each way and distance.
PEOPLE = 6
#: Standard deviation of a keypoint along each axis, as a share of the person's height, and the
#: time constant of these errors, s.
NOISE, NOISE_S = 0.015, 0.1
HEIGHT_M = 1.68
#: Relative standard deviation of the people's sizes.
SIZES = 0.06
#: Velocity in the camera's optical frame, m/s.
WAYS = {
    "comes": (0.0, 0.0, -1.4),
    "goes": (0.0, 0.0, 1.4),
    "comes aslant": (1.0, 0.0, -1.0),
    "walks sideways": (1.4, 0.0, 0.0),
    "runs to the camera": (0.0, 0.0, -2.8),
    "stands": (0.0, 0.0, 0.0),
    "goes aslant": (1.0, 0.0, 1.0),
}
#: Unit vector to the right in the camera's optical frame.
RIGHT = np.array([1.0, 0.0, 0.0])
#: Time until a person may be at the camera, s: those who would be sooner are left out.
MARGIN_S = 1.5

#: Joints of h36m17, m: right of a person who faces away, down, and ahead.
_PERSON = np.array(
    [
        (0, 0, 0),
        *((0.1, 0, 0), (0.1, 0.4, 0), (0.1, 0.8, 0)),
        *((-0.1, 0, 0), (-0.1, 0.4, 0), (-0.1, 0.8, 0)),
        *((0, -0.25, 0), (0, -0.5, 0), (0, -0.65, 0.12), (0, -0.8, 0)),
        *((-0.18, -0.5, 0), (-0.18, -0.2, 0), (-0.18, 0.05, 0)),
        *((0.18, -0.5, 0), (0.18, -0.2, 0), (0.18, 0.05, 0)),
    ],
    dtype=float,
)
#: Share of the leg's swing that a joint has.
_SWINGS = np.zeros(17)
for _side, _sign in (("left", 1.0), ("right", -1.0)):
    for _joint, _share in (("knee", 0.5), ("ankle", 1.0), ("elbow", -0.3), ("wrist", -0.6)):
        _SWINGS[H36M17.index(f"{_side}_{_joint}")] = _sign * _share


def walker(velocity: np.ndarray, distance_m: float, rng: np.random.Generator) -> np.ndarray:
    """(IMAGES, 17, 3) m of one person, in the camera's optical frame."""
    speed = float(np.linalg.norm(velocity))
    yaw = math.atan2(velocity[0], velocity[2]) if speed else rng.uniform(0, 2 * math.pi)
    turn = np.array(
        [[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]]
    )
    t = np.arange(IMAGES)[:, None] / RATE_HZ
    phase = 2 * math.pi * (0.5 + 0.35 * speed) * t + rng.uniform(0, 2 * math.pi)
    joints = np.tile(_PERSON, (IMAGES, 1, 1))
    joints[..., 2] += min(0.4, 0.25 * speed) * np.sin(phase) * _SWINGS
    start = np.array([rng.uniform(-0.15, 0.15) * distance_m - 0.5 * velocity[0], 0.3, distance_m])
    return rng.normal(1.0, SIZES) * joints @ turn.T + (start + t * velocity)[:, None]


def keypoints(joints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(IMAGES, 17, 3) px, px, score, with noise."""
    keep, error = math.exp(-1 / (RATE_HZ * NOISE_S)), rng.normal(size=(17, 2))
    out = np.ones(joints.shape)
    for image, placed in enumerate(joints):
        out[image, :, :2] = LENS.project(placed)
        pixels = NOISE * HEIGHT_M * LENS.matrix[0, 0] / placed[0, 2]
        out[image, :, :2] += pixels * error
        error = keep * error + math.sqrt(1 - keep**2) * rng.normal(size=(17, 2))
    return out


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    rng = np.random.default_rng(0)
    cases = [
        (way, distance_m)
        for way, velocity in WAYS.items()
        for distance_m in DISTANCES_M
        if distance_m + MARGIN_S * velocity[2] > 0
    ]
    each = [case for case in cases for _ in range(PEOPLE)]
    points = np.array([keypoints(walker(np.array(WAYS[way]), far, rng), rng) for way, far in each])
    pipeline = LiftPipeline(make_engine("lite", None, "cpu"), PipelineConfig(max_people=len(each)))
    pipeline.set_camera(LENS)
    found = np.full((IMAGES, len(each), 3), np.nan)
    for image in range(IMAGES):
        people = [Pose2D(own[image], track_id=number + 1) for number, own in enumerate(points)]
        stamp_ns = round((1 + image / RATE_HZ) * 1e9)
        result = pipeline.update(Frame2D(stamp_ns, "", H36M17.name, LENS.size, people))
        for pose in result.people if result else []:
            found[image, pose.track_id - 1] = pose.velocity
    print("Median share of the true speed; of people who stand 90th percentile of the speed, m/s.")
    print("Sideways: the share of the velocity to the right.")
    print("-: under half of the people have a velocity.\n")
    print("| | distance, m | " + " | ".join(f"image {shown}" for shown in SHOWN) + " |")
    print("|---|---|" + "---|" * len(SHOWN))
    aslant = [case for case in cases if case[0].endswith("aslant")]
    for way, distance_m, part in [(*c, "") for c in cases] + [(*c, ", sideways") for c in aslant]:
        rows = [row for row, case in enumerate(each) if case == (way, distance_m)]
        truth = np.array(WAYS[way])
        if part:
            truth = RIGHT * truth
        cells = []
        for shown in SHOWN:
            own = found[shown - 1, rows]
            own = own[np.isfinite(own[:, 0])]
            if len(own) < PEOPLE / 2:
                cells.append("-")
            elif truth.any():
                cells.append(f"{np.median(own @ truth) / (truth @ truth):.2f}")
            else:
                cells.append(f"{np.percentile(np.linalg.norm(own, axis=1), 90):.2f}")
        print(f"| {way}{part} | {distance_m} | " + " | ".join(cells) + " |")
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
