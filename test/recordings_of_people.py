"""A recording of two people who move, for tests of files."""

from __future__ import annotations

import math

import numpy as np
from bodies import STANDING

from emf_ros.geometry.camera import Camera
from emf_ros.io.recording_writer import RecordingWriter
from emf_ros.io.recordings import Recording
from emf_ros.skeletons import COCO17, H36M17, convert_keypoints

CAMERA = Camera.from_fov(1280, 720, 70.0)
RATE_HZ = 30.0
#: Number of images.
IMAGES = 40
#: Images without the second person.
AWAY = range(12, 17)
#: Image and joint that are unknown for the first person.
UNKNOWN = (20, H36M17.index("left_wrist"))


def pose(time_s: float, person: int) -> np.ndarray:
    """(17, 3) m in the camera's optical frame: a person who walks, turns and swings the limbs."""
    upright = np.array([STANDING[joint] for joint in H36M17.joints])
    rng = np.random.default_rng(person)
    phase = rng.random((17, 3)) + rng.uniform(0.3, 1, (17, 3)) * time_s
    upright = upright + 0.05 * np.sin(2 * math.pi * phase)
    turn = 0.4 * person + 0.8 * time_s
    forward, up, right = upright.T
    x = right * math.cos(turn) - forward * math.sin(turn)
    z = right * math.sin(turn) + forward * math.cos(turn)
    away = np.array([0.9 * person - 1.4 + 0.3 * time_s, 0.2, 3.5 + 0.2 * person])
    return np.stack([x, -up, z], axis=1) + away


def two_people(start_s: float = 0.0, body_names: tuple[str, ...] = ()) -> Recording:
    """Two people; one is away for five images, one has an unknown joint."""
    writer = RecordingWriter(COCO17, CAMERA.size, CAMERA, body_names)
    for image in range(IMAGES):
        for person in (1, 2):
            if person == 2 and image in AWAY:
                continue
            joints = pose(image / RATE_HZ, person)
            pixels = np.concatenate([CAMERA.project(joints), np.full((17, 1), 0.8)], axis=1)
            keypoints = convert_keypoints(pixels, H36M17, COCO17)
            if person == 1 and image == UNKNOWN[0]:
                joints[UNKNOWN[1]] = np.nan
            writer.add(
                start_s + image / RATE_HZ,
                image,
                person,
                keypoints,
                joints,
                np.full(17, 0.02),
                joints[0],
                True,
                np.arange(len(body_names)) + image if body_names else None,
            )
    return writer.recording()
