"""Composites in which the demo video's two people cross, with simulated detections."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from emf_ros.detect.factory import make_detector
from emf_ros.downloads.videos import ensure_demo_video
from emf_ros.geometry.boxes import person_boxes
from emf_ros.io.video import frames_of, open_source
from emf_ros.skeletons import BLAZEPOSE33
from emf_ros.types import Pose2D

CACHE = Path(tempfile.gettempdir()) / "emf_ros_bench_tracking.npz"
NANOSECONDS = 1_000_000_000
RATE_HZ = 30.0
SIZE = (1768, 994)
#: Size of the images over that of the video.
SHRUNK = 0.5

#: Where the middles of the demo's people are: frame, x, y. The man jumps off his roof.
PATHS = {
    "man": np.array(
        [
            *((0, 640, 205), (100, 645, 205), (120, 726, 206), (150, 792, 210), (162, 829, 270)),
            *((168, 891, 235), (186, 993, 454), (198, 1124, 793), (204, 1195, 733)),
            *((210, 1310, 692), (222, 1501, 648), (229, 1540, 650)),
        ]
    ),
    "woman": np.array(
        [
            *((55, 1440, 683), (60, 1419, 683), (66, 1351, 677), (90, 1130, 663), (120, 831, 660)),
            *((150, 539, 651), (180, 215, 670), (198, 16, 663), (204, -60, 663)),
        ]
    ),
}
#: Maximum distance of a detection's middle from that of the person, px.
NEAR = 90.0
#: First and last frame with good detections of each person, for the composites.
SOURCES = {"man": (20, 165), "woman": (62, 192)}

TRUNK = [
    BLAZEPOSE33.index(f"{side}_{j}") for side in ("left", "right") for j in ("shoulder", "hip")
]
#: Time of a turn, from full speed one way to full speed the other way, s.
TURN_S = 1.0
BODY = TRUNK + [
    BLAZEPOSE33.index(f"{side}_{j}")
    for side in ("left", "right")
    for j in ("elbow", "wrist", "knee", "ankle")
]


def demo_detections() -> list[list[Pose2D]]:
    """The detections of each frame; from a file if it exists."""
    if not CACHE.is_file():
        print(f"detecting keypoints, once; kept in {CACHE}", flush=True)
        detector = make_detector("mediapipe", "full", 2, 0.2)
        rows = []
        for index, seconds, picture in frames_of(open_source(str(ensure_demo_video()))):
            rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
            for found in detector.detect(rgb, round(seconds * NANOSECONDS)):
                rows.append((index, found.score, found.keypoints))
        detector.close()
        frames, scores, keypoints = zip(*rows, strict=True)
        np.savez(CACHE, frames=frames, scores=scores, keypoints=keypoints, count=index + 1)
    with np.load(CACHE) as file:
        out: list[list[Pose2D]] = [[] for _ in range(int(file["count"]))]
        for frame, score, pose in zip(
            file["frames"], file["scores"], file["keypoints"], strict=True
        ):
            out[frame].append(Pose2D(pose, float(score)))
    return out


def middle(keypoints: np.ndarray) -> np.ndarray:
    """(2,) px of the trunk."""
    return keypoints[TRUNK, :2].mean(axis=0)


def labelled(found: list[list[Pose2D]]) -> Iterator[dict[str, Pose2D]]:
    """Per frame the detection of each person, without false positives and duplicates."""
    for frame, detections in enumerate(found):
        people = {}
        for name, path in PATHS.items():
            if not path[0, 0] <= frame <= path[-1, 0]:
                continue
            place = [np.interp(frame, path[:, 0], path[:, i]) for i in (1, 2)]
            far = [np.linalg.norm(middle(d.keypoints) - place) for d in detections]
            if far and min(far) < NEAR:
                people[name] = detections[int(np.argmin(far))]
        yield people


def demo_pictures() -> list[np.ndarray]:
    """RGB, `SHRUNK`."""
    return [
        cv2.cvtColor(
            cv2.resize(p, None, fx=SHRUNK, fy=SHRUNK, interpolation=cv2.INTER_AREA),
            cv2.COLOR_BGR2RGB,
        )
        for _, _, p in frames_of(open_source(str(ensure_demo_video())))
    ]


class Source:
    """One real person's keypoints and images over time, forwards and backwards again."""

    def __init__(self, name: str, people: list[dict[str, Pose2D]], pictures: list[np.ndarray]):
        first, last = SOURCES[name]
        known = [f for f in range(first, last + 1) if name in people[f]]
        poses = np.stack([people[f][name].keypoints for f in known])
        frames = np.arange(known[0], known[-1] + 1)
        flat = poses.reshape(len(poses), -1)
        self.poses = np.stack([np.interp(frames, known, c) for c in flat.T], axis=1)
        self.poses = self.poses.reshape(len(frames), *poses.shape[1:])
        self.pictures = pictures[known[0] : known[-1] + 1]
        self.feet = float(np.median(person_boxes(self.poses, 0.0)[:, 3]))
        self.seconds = (len(frames) - 1) / RATE_HZ

    def at(self, seconds: float) -> tuple[np.ndarray, np.ndarray]:
        """The keypoints (33, 3) and the nearest image."""
        within = seconds % (2 * self.seconds)
        within = min(within, 2 * self.seconds - within)
        # The mean over `TURN_S` around: a parabola where the motion turns back.
        for end, sign in ((0.0, 1), (self.seconds, -1)):
            apart = abs(within - end)
            if apart < TURN_S / 2:
                within = end + sign * (apart**2 / TURN_S + TURN_S / 4)
        place = within * RATE_HZ
        low = min(int(place), len(self.poses) - 2)
        share = place - low
        pose = (1 - share) * self.poses[low] + share * self.poses[low + 1]
        return pose, self.pictures[round(place)]


@dataclass
class Actor:
    """A copy of a real person.

    Attributes:
        source: the person.
        start_s: into its motion.
        pace: of the motion; were it the same for all, the same people would meet again and again.
        mirrored: walks the other way.
        scale: of the size.
        offset: (2,) px, after the scaling about the image's left edge and the feet.
        dye: (3,) gain of red, green and blue.
    """

    source: Source
    start_s: float
    pace: float
    mirrored: bool
    scale: float
    offset: np.ndarray
    dye: np.ndarray

    def at(self, seconds: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Keypoints (33, 3), the person's own image (h, w, 3), and its corner (2,), shrunk px.

        The image is black outside the keypoints' hull.
        """
        pose, picture = self.source.at(self.start_s + self.pace * seconds)
        height, width = picture.shape[:2]
        box = person_boxes(pose[None], 0.0)[0] * SHRUNK
        grow = 0.1 * (box[3] - box[1])
        left, top = np.maximum(box[:2] - grow, 0).astype(int)
        right, bottom = np.minimum(box[2:] + grow, (width, height)).astype(int)
        crop = picture[top:bottom, left:right]
        if crop.size:
            hull = cv2.convexHull((pose[:, :2] * SHRUNK - (left, top)).astype(np.int32))
            mask = np.zeros(crop.shape[:2], np.uint8)
            cv2.fillConvexPoly(mask, hull, 1)
            cv2.dilate(mask, np.ones((9, 9), np.uint8), dst=mask)
            crop = np.where(mask[..., None] > 0, np.maximum(crop, 1), 0).astype(np.uint8)
        pose = pose.copy()
        if self.mirrored:
            pose = pose[list(BLAZEPOSE33.mirror)]
            pose[:, 0] = SIZE[0] - 1 - pose[:, 0]
            left = width - right
            crop = crop[:, ::-1]
        corner = np.array([left, top]) / SHRUNK
        for place in (pose[:, :2], corner):
            place -= (0, self.source.feet)
            place *= self.scale
            place += self.offset
        if crop.size:
            shape = np.maximum(np.round(np.array(crop.shape[1::-1]) * self.scale), 1).astype(int)
            crop = np.ascontiguousarray(crop)
            crop = cv2.resize(crop, shape.tolist(), interpolation=cv2.INTER_NEAREST)
            crop = (crop * self.dye).clip(crop > 0, 255).astype(np.uint8)
        return pose, crop, np.round(corner * SHRUNK).astype(int)


def cast(sources: dict[str, Source], count: int, random: np.random.Generator) -> list[Actor]:
    """Walkers both ways and, one in four, people that do not walk."""
    actors = []
    for number in range(count):
        source = sources["man" if number % 4 == 3 else "woman"]
        feet = random.uniform(760, 960)
        # A plane floor: people lower in the image are nearer.
        scale = feet / 860 * random.uniform(0.92, 1.08)
        scale *= 1.0 if source is sources["woman"] else 1.2
        across = (
            random.uniform(-150, 150)
            if source is sources["woman"]
            else (random.uniform(200, SIZE[0] - 200) - 700 * scale)
        )
        actors.append(
            Actor(
                source,
                random.uniform(0, 2 * source.seconds),
                random.uniform(0.75, 1.2),
                bool(number % 2),
                scale,
                np.array([across, feet]),
                random.uniform(0.4, 1.6, 3),
            )
        )
    return actors


@dataclass
class Frame:
    """One image of a composite.

    Attributes:
        stamp_ns: of the image.
        detections: of the simulated detector.
        persons: the person's number per detection, -1 for a false positive. A person that comes
            back as a new one has the old number plus a multiple of the number of people.
        visible: numbers of the visible people.
        image: (h, w, 3) RGB, `SHRUNK`; None without images.
    """

    stamp_ns: int
    detections: list[Pose2D]
    persons: list[int]
    visible: set[int]
    image: np.ndarray | None


@dataclass
class Scene:
    """A composite of `people` people at `rate_hz` images a second."""

    sources: dict[str, Source]
    people: int
    rate_hz: float
    seconds: float
    seed: int
    random: np.random.Generator = field(init=False)

    #: Occluded share of the body's joints: at which there is no detection; at which the occluded
    #: keypoints are guesses.
    COVERED, TOUCHED = 0.6, 0.2

    def __post_init__(self) -> None:
        self.random = np.random.default_rng([self.people, int(self.rate_hz), self.seed])

    def frames(self, with_images: bool) -> Iterator[Frame]:
        random = self.random
        actors = cast(self.sources, self.people, random)
        # Nearest first.
        actors.sort(key=lambda actor: -actor.offset[1])
        last_in = [-np.inf] * len(actors)
        number = list(range(len(actors)))
        false_positives: list[Pose2D] = []
        for index in range(int(self.seconds * self.rate_hz)):
            if random.random() < 0.1:
                continue
            seconds = (index + random.uniform(-0.15, 0.15)) / self.rate_hz
            shown = [actor.at(seconds) for actor in actors]
            detections, persons, visible = [], [], set()
            fronts: list[np.ndarray] = []
            for i, (pose, _, _) in enumerate(shown):
                inside = ((pose[BODY, :2] >= 0) & (pose[BODY, :2] < SIZE)).all(axis=1).mean()
                covered = np.zeros(len(pose), dtype=bool)
                for low_x, low_y, high_x, high_y in fronts:
                    covered |= (
                        (pose[:, 0] > low_x)
                        & (pose[:, 0] < high_x)
                        & (pose[:, 1] > low_y)
                        & (pose[:, 1] < high_y)
                    )
                box = person_boxes(pose[None], 0.0)[0]
                slim = 0.1 * (box[2] - box[0])
                fronts.append(box + (slim, 0, -slim, 0))
                if inside < 0.6:
                    continue
                if seconds - last_in[i] > 1.0 and np.isfinite(last_in[i]):
                    number[i] += self.people
                last_in[i] = seconds
                share = covered[BODY].mean()
                if share > self.COVERED:
                    continue
                visible.add(number[i])
                found = self._found(pose, covered if share > self.TOUCHED else None)
                if found is not None:
                    detections.append(found)
                    persons.append(number[i])
            false_positives = [g for g in false_positives if random.random() < 0.3]
            if random.random() < 0.02:
                pose = shown[random.integers(len(shown))][0].copy()
                pose[:, :2] += random.normal(0, 200, 2)
                false_positives.append(Pose2D(pose, float(random.uniform(0.4, 0.7))))
            order = random.permutation(len(detections) + len(false_positives))
            everything = detections + false_positives
            numbers = persons + [-1] * len(false_positives)
            yield Frame(
                round((10 + seconds) * NANOSECONDS),
                [everything[i] for i in order],
                [numbers[i] for i in order],
                visible,
                _paste(shown) if with_images else None,
            )

    def _found(self, pose: np.ndarray, covered: np.ndarray | None) -> Pose2D | None:
        random = self.random
        pose = pose.copy()
        size = float(np.linalg.norm(np.ptp(pose[:, :2], axis=0)))
        pose[:, :2] += random.normal(0, 0.006 * size, pose[:, :2].shape)
        if covered is not None:
            pose[covered, 2] *= 0.25
            pose[covered, :2] += random.normal(0, 0.05 * size, (int(covered.sum()), 2))
        dice = random.random()
        if dice < 0.03:
            return None
        if dice < 0.08:
            pose[:, 2] *= 0.4
        elif dice < 0.09:
            pose = pose[list(BLAZEPOSE33.mirror)]
        return Pose2D(pose, float(pose[BODY, 2].mean()))


def _paste(shown: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> np.ndarray:
    """The people on grey, the nearest (first) over the others."""
    width, height = (int(n * SHRUNK) for n in SIZE)
    canvas = np.full((height, width, 3), 128, np.uint8)
    for _, crop, (left, top) in reversed(shown):
        x, y = max(left, 0), max(top, 0)
        part = crop[y - top : height - top, x - left : max(width - left, 0)]
        if part.size:
            below = canvas[y : y + part.shape[0], x : x + part.shape[1]]
            np.copyto(below, part, where=part.any(axis=-1, keepdims=True))
    return canvas


def shrunk(detection: Pose2D) -> Pose2D:
    """In the pixels of the images."""
    pose = detection.keypoints.copy()
    pose[:, :2] = (pose[:, :2] + 0.5) * SHRUNK - 0.5
    return Pose2D(pose, detection.score)
