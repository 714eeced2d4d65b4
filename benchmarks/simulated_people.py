"""Recorded motion through simulated cameras, a simulated detector and the lifter, with its truth.

`benchmarks/body.py` measures on these sequences. Cameras stand over the floor as a robot's do: 0.4
to 1.8 m high, 1.5 to 7 m from the person, level or looking down.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from emf_ros.body.face import POINTS as FACE
from emf_ros.geometry.camera import Camera
from emf_ros.lift.config import PipelineConfig
from emf_ros.lift.engine import Engine
from emf_ros.lift.ground import GroundPlane
from emf_ros.lift.pipeline import LiftPipeline
from emf_ros.lift.together import lift_together
from emf_ros.skeletons import BLAZEPOSE33, H36M17
from emf_ros.train.detector_errors import DetectorErrors
from emf_ros.train.detector_layouts import POINTS
from emf_ros.train.detector_model import DetectorModel
from emf_ros.types import Frame2D, Pose2D, Pose3D, TrackState

#: Rate of the simulated images, Hz.
RATE_HZ = 30.0
#: Maximum number of images of a sequence. Longer clips are cut.
MAX_FRAMES = 600
#: Number of sequences that are lifted together.
TOGETHER = 8
#: Size of the images, (width, height) px.
IMAGE_SIZE = (1280, 960)


@dataclass
class Motion:
    """A clip of motion, 30 Hz.

    Attributes:
        joints: (T, 17, 3) m, z up, floor at z = 0.
        source, subject, action: where it comes from.
        label: (T,) number of the gesture that is shown, 0 for none.
        target: (T, 3) m, unit vector in which an arm points; NaN for none.
    """

    joints: np.ndarray
    source: str
    subject: str
    action: str
    label: np.ndarray
    target: np.ndarray


@dataclass
class Lifted:
    """One sequence as the lifter sees it, with its truth in the camera's optical frame.

    Attributes:
        stamp_ns: (N,) of the described images.
        joints, confidence, stddev, root, root_covariance, velocity, state: (N, ...) as of `Pose3D`;
            NaN where there is no pose.
        keypoints: (N, 33, 3) px, px, score.
        truth: (N, 17, 3) m.
        truth_before, truth_after: (N, 17, 3) m, 0.1 s before and after.
        up: (3,) the floor's normal.
        camera_height: m.
        focal: px.
        source, subject, action: of the motion.
        label, target: of the motion.
    """

    stamp_ns: np.ndarray
    joints: np.ndarray
    confidence: np.ndarray
    stddev: np.ndarray
    root: np.ndarray
    root_covariance: np.ndarray
    velocity: np.ndarray
    state: np.ndarray
    keypoints: np.ndarray
    truth: np.ndarray
    truth_before: np.ndarray
    truth_after: np.ndarray
    up: np.ndarray
    camera_height: float
    focal: float
    source: str
    subject: str
    action: str
    label: np.ndarray
    target: np.ndarray

    @property
    def face(self) -> np.ndarray:
        """(N, 3, 3) as of `Pose3D`."""
        out = self.keypoints[:, [BLAZEPOSE33.index(name) for name in FACE]]
        out[..., :2] = (out[..., :2] - (np.array(IMAGE_SIZE) / 2 - 0.5)) / self.focal
        return out

    def pose(self, row: int) -> Pose3D:
        """The pose of one image."""
        root = self.root[row]
        out = Pose3D(
            1,
            TrackState(int(self.state[row])),
            1.0,
            self.joints[row],
            self.confidence[row],
            self.stddev[row],
            root,
            bool(np.isfinite(root).all()),
            self.root_covariance[row],
            self.velocity[row],
        )
        out.face = self.face[row]
        return out


class _Scene:
    """A motion before a camera, and the pipeline that lifts it."""

    def __init__(self, motion: Motion, engine: Engine, every: int, rng: np.random.Generator):
        self.motion, self.every = motion, every
        self.fov = math.radians(rng.uniform(55.0, 90.0))
        self.focal = IMAGE_SIZE[0] / 2 / math.tan(self.fov / 2)
        self.camera = Camera.from_fov(*IMAGE_SIZE, math.degrees(self.fov))
        self._place(rng)
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        model = DetectorModel(
            torch.device("cpu"), generator, DetectorErrors(), layouts=("blazepose33",)
        )
        joints = torch.from_numpy(self.truth[None]).float()
        half_width = torch.tensor([math.tan(self.fov / 2)])
        half_height = half_width * IMAGE_SIZE[1] / IMAGE_SIZE[0]
        points, scores, clip = model.mark(joints, half_width, half_height)
        scores = model.drop_unreported(scores, clip)
        pixels = points[0].numpy() * self.focal + np.array(IMAGE_SIZE) / 2 - 0.5
        self.keypoints = np.full((len(pixels), len(BLAZEPOSE33), 3), np.nan)
        self.keypoints[..., 2] = 0.0
        for number, name in enumerate(POINTS):
            if name in BLAZEPOSE33.joints:
                index = BLAZEPOSE33.index(name)
                self.keypoints[:, index, :2] = pixels[:, number]
                self.keypoints[:, index, 2] = scores[0, :, number].numpy()
        ground = GroundPlane(self.height, self.pitch, self.roll)
        self.pipeline = LiftPipeline(engine, PipelineConfig(ground=ground))
        self.pipeline.set_camera(self.camera)
        self.rows: list[tuple[int, Pose3D]] = []
        self.next = 0

    def _place(self, rng: np.random.Generator) -> None:
        joints = self.motion.joints
        middle = joints[:, 0].mean(axis=0)
        self.height = rng.uniform(0.4, 1.8)
        distance = 1.5 * (7.0 / 1.5) ** rng.random()
        azimuth = rng.uniform(0, 2 * math.pi)
        place = middle + distance * np.array([math.cos(azimuth), math.sin(azimuth), 0.0])
        place[2] = self.height
        aim = math.atan2(self.height - 0.9, distance)
        self.pitch = float(np.clip(aim + math.radians(rng.normal(0, 6)), -0.35, 0.8))
        self.roll = math.radians(rng.normal(0, 1.5))
        yaw = azimuth + math.pi + math.radians(rng.normal(0, 8))
        ahead = np.array([math.cos(yaw), math.sin(yaw), 0.0])
        vertical = np.array([0.0, 0.0, 1.0])
        forward = ahead * math.cos(self.pitch) - vertical * math.sin(self.pitch)
        right = np.cross(ahead, vertical)
        down = np.cross(forward, right)
        turn = np.array(
            [
                [math.cos(self.roll), math.sin(self.roll), 0.0],
                [-math.sin(self.roll), math.cos(self.roll), 0.0],
                [0.0, 0.0, 1.0],
            ]
        )
        axes = turn @ np.stack([right, down, forward])
        self.truth = (joints - place) @ axes.T
        self.up = axes @ vertical
        assert np.allclose(self.up, GroundPlane(self.height, self.pitch, self.roll).up, atol=1e-9)
        self.target = self.motion.target @ axes.T

    @property
    def done(self) -> bool:
        return self.next >= len(self.truth)

    def observe(self) -> bool:
        """Take in the next image; whether the poses are due."""
        index, self.next = self.next, self.next + 1
        points = self.keypoints[index]
        shown = points[:, 2] > 0
        people = [Pose2D(points, float(points[shown, 2].mean()), 1)] if shown.any() else []
        frame = Frame2D(stamp_of(index), "camera", BLAZEPOSE33.name, IMAGE_SIZE, people)
        return self.pipeline.observe(frame) and index % self.every == 0

    def take(self, result: object) -> None:
        if result is None:
            return
        for pose in result.people:  # type: ignore[attr-defined]
            if pose.state != TrackState.ENDED:
                self.rows.append((self.next - 1, pose))

    def lifted(self) -> Lifted | None:
        if len(self.rows) < 3:
            return None
        index = np.array([row for row, _ in self.rows])
        step = round(0.1 * RATE_HZ)
        last = len(self.truth) - 1

        def stacked(name: str) -> np.ndarray:
            return np.stack([np.asarray(getattr(pose, name)) for _, pose in self.rows])

        return Lifted(
            np.array([stamp_of(i) for i in index.tolist()]),
            stacked("joints"),
            stacked("confidence"),
            stacked("stddev"),
            stacked("root"),
            stacked("root_covariance"),
            stacked("velocity"),
            stacked("state"),
            self.keypoints[index],
            self.truth[index],
            self.truth[np.maximum(index - step, 0)],
            self.truth[np.minimum(index + step, last)],
            self.up,
            self.height,
            self.focal,
            self.motion.source,
            self.motion.subject,
            self.motion.action,
            self.motion.label[index],
            self.target[index],
        )


def stamp_of(index: int) -> int:
    """Stamp of an image by its number, ns."""
    return 10_000_000_000 + round(index * 1e9 / RATE_HZ)


def lifted_sequences(
    motions: Iterable[Motion], engine: Engine, every: int, seed: int
) -> Iterator[Lifted]:
    """The motions as the lifter sees them; poses of every `every`-th image."""
    rng = np.random.default_rng(seed)
    waiting = iter(motions)
    running: list[_Scene] = []
    while True:
        while len(running) < TOGETHER:
            motion = next(waiting, None)
            if motion is None:
                break
            running.append(_Scene(motion, engine, every, rng))
        if not running:
            return
        due = [scene for scene in running if scene.observe()]
        if due:
            results = lift_together([scene.pipeline for scene in due])
            for scene, result in zip(due, results, strict=True):
                scene.take(result)
        for scene in [scene for scene in running if scene.done]:
            running.remove(scene)
            lifted = scene.lifted()
            if lifted is not None:
                yield lifted


def save(path: Path, sequences: list[Lifted]) -> None:
    """Write sequences; `load` reads them."""
    arrays: dict[str, np.ndarray] = {"lengths": np.array([len(s.stamp_ns) for s in sequences])}
    for field in fields(Lifted):
        values = [np.asarray(getattr(s, field.name)) for s in sequences]
        per_row = field.name not in ("up", "camera_height", "focal", *_NAMES)
        arrays[field.name] = np.concatenate(values) if per_row else np.stack(values)
        if arrays[field.name].dtype == np.float64:
            arrays[field.name] = arrays[field.name].astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


_NAMES = ("source", "subject", "action")


def load(path: Path) -> list[Lifted]:
    """Sequences that `save` wrote."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    ends = np.cumsum(arrays.pop("lengths"))
    out = []
    for number, end in enumerate(ends.tolist()):
        start = ends[number - 1] if number else 0
        values = {}
        for name, column in arrays.items():
            whole = name in ("up", "camera_height", "focal", *_NAMES)
            value = column[number] if whole else column[start:end]
            if value.dtype == np.float32:
                value = value.astype(np.float64)
            values[name] = value
        for name in _NAMES:
            values[name] = str(values[name])
        out.append(Lifted(**values))
    return out


def at_rate(joints: np.ndarray, rate_hz: float) -> np.ndarray:
    """(N, 17, 3) at some rate -> (T, 17, 3) at 30 Hz, interpolated linearly."""
    time = np.arange(0, (len(joints) - 1) / rate_hz, 1 / RATE_HZ)
    flat = joints.reshape(len(joints), -1)
    source = np.arange(len(joints)) / rate_hz
    columns = [np.interp(time, source, column) for column in flat.T]
    return np.stack(columns, axis=1).reshape(len(time), len(H36M17), 3)
