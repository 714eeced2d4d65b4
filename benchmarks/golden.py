"""The golden gate: whether a change has cost accuracy, ids, recall, or has let false positives in.

python benchmarks/golden.py             # a minute; exit status 1 where a figure left its range
python benchmarks/golden.py --footage DIR      # accuracy on real people with truth as well

Each figure has a range that it must stay in. The ranges are as wide as today's figures vary between
machines (onnxruntime's kernels differ by CPU) and no wider. A change that moves a figure on purpose
changes its range in the same commit, and says why.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from emf_ros.downloads.videos import ensure_demo_video
from emf_ros.geometry.camera import Camera
from emf_ros.io.recordings import Recording
from emf_ros.io.video import frames_of, open_source
from emf_ros.lift.engine import Engine, make_engine
from emf_ros.lift.offline import lift_video
from emf_ros.runtime.machine import machine
from emf_ros.train.comparison import Errors
from emf_ros.train.footage import evaluate_footage, read_footage

RATE_HZ = 30.0
#: Field of view that the demo's figures are of, degrees.
FOV_DEG = 60.0
#: Number of times that an image without people is shown.
SHOWN = 12
#: Number of the first of the demo's images that people are copied from, both of them whole.
PEOPLE_FROM = 66
#: Number of these images.
PEOPLE_FOR = 50
#: Number of the last of them in which people are counted.
COUNTED = 10


@dataclass(frozen=True)
class Range:
    """A figure, and where it has to be.

    Attributes:
        name: of the figure, with its unit.
        low, high: inclusive.
    """

    name: str
    low: float
    high: float


class Pictures:
    """Images in memory, 30 a second, as a source of frames."""

    live, pixel_aspect, notice, unreadable, rate_hz = False, 1.0, "", 0, RATE_HZ
    start_s, camera = 0.0, None

    def __init__(self, pictures: Sequence[np.ndarray]) -> None:
        self._pictures, self._next = pictures, 0
        self.size = (pictures[0].shape[1], pictures[0].shape[0])
        self.count = len(pictures)
        self.other_sizes: Counter[tuple[int, int]] = Counter()

    def grab(self) -> tuple[int, float] | None:
        if self._next == self.count:
            return None
        self._next += 1
        return self._next - 1, (self._next - 1) / RATE_HZ

    def retrieve(self, into: np.ndarray | None = None) -> np.ndarray | None:
        return self._pictures[self._next - 1]

    def times(self) -> np.ndarray | None:
        return np.arange(self.count) / RATE_HZ

    def rewind(self) -> bool:
        self._next = 0
        return True

    def close(self) -> None:
        return None


def half_size(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    return cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA)


def lifted(pictures: Sequence[np.ndarray], engine: Engine, people: int = 8) -> Recording:
    camera = Camera.from_fov(pictures[0].shape[1], pictures[0].shape[0], FOV_DEG)
    recording, _ = lift_video(Pictures(pictures), camera, engine, people=people, progress=False)
    return recording


def on_the_demo(recording: Recording, pictures: int) -> Iterator[tuple[Range, float]]:
    """Two people for most of the video; one of them jumps and turns over."""
    ids = np.unique(recording.track_id)
    yield Range("demo: ids for two people", 2, 2), len(ids)
    yield Range("demo: poses per picture", 1.60, 2.0), len(recording) / pictures
    placed = recording.root_valid
    yield Range("demo: share of poses with a root", 0.84, 1.0), float(placed.mean())
    distance = np.median(recording.root[placed, 2])
    yield Range("demo: median distance, m", 5.8, 7.2), float(distance)
    jumps = []
    for track_id in ids:
        rows = recording.track_id == track_id
        stamps, joints = recording.stamp[rows], recording.joints_3d[rows]
        even = np.isclose(np.diff(stamps), 1 / RATE_HZ, atol=2e-3)
        even = even[1:] & even[:-1]
        relative = joints - joints[:, :1]
        sizes = np.linalg.norm(np.diff(relative, n=2, axis=0), axis=-1).mean(axis=-1)
        jumps.append(sizes[even] * RATE_HZ**2)
    yield (
        Range("demo: acceleration of the joints, m/s2", 2.0, 22.0),
        float(np.nanmean(np.concatenate(jumps))),
    )


def without_people(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Ten images without people: the demo's background, its parts, and drawn ones."""
    background = np.median(np.stack(pictures[::4]), axis=0).astype(np.uint8)
    height, width = background.shape[:2]
    rng = np.random.default_rng(0)
    out = [background, background[:, ::-1].copy(), background[::-1].copy()]
    out.append((background * 0.2).astype(np.uint8))
    out.append(cv2.GaussianBlur(background, (31, 31), 0))
    out.append(np.full_like(background, 127))
    out.append(rng.integers(0, 255, background.shape, dtype=np.uint8))
    ramp = np.linspace(0, 255, width, dtype=np.uint8)
    out.append(np.repeat(np.tile(ramp, (height, 1))[..., None], 3, axis=2))
    drawn = background.copy()
    for _ in range(40):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        colour = tuple(int(c) for c in rng.integers(0, 255, 3))
        cv2.circle(drawn, centre, int(rng.integers(5, 60)), colour, -1)
    out.append(drawn)
    poles = background.copy()
    for x in range(40, width, 90):
        cv2.line(poles, (x, 60), (x, height), (60, 60, 70), 14)
        cv2.circle(poles, (x, 50), 18, (120, 150, 190), -1)
    out.append(poles)
    return out


def false_positives(
    pictures: Sequence[np.ndarray], engine: Engine
) -> Iterator[tuple[Range, float]]:
    reported = sum(len(lifted([p] * SHOWN, engine)) for p in without_people(pictures))
    yield Range("people in ten pictures without any", 0, 0), reported


def recall(pictures: Sequence[np.ndarray], engine: Engine) -> Iterator[tuple[Range, float]]:
    """The demo's two people, small, once and four times in each image."""
    shown = pictures[PEOPLE_FROM : PEOPLE_FROM + PEOPLE_FOR]
    for copies, low in ((1, 0.98), (2, 0.9)):
        people = 2 * copies**2
        tiled = [np.tile(half_size(p), (copies, copies, 1)) for p in shown]
        recording = lifted(tiled, engine, people)
        last = recording.frame >= PEOPLE_FOR - COUNTED
        name = f"recall of {people} people, after {PEOPLE_FOR - COUNTED} pictures"
        yield Range(name, low, 1.0), float(last.sum() / (COUNTED * people))


def on_footage(folder: str, engine: Engine) -> Iterator[tuple[Range, float]]:
    """Real people against marker motion capture."""
    mean = Errors.mean(list(evaluate_footage(read_footage(folder), engine).values()))
    yield Range("footage: MPJPE, mm", 0, 59.5), mean.mpjpe_mm
    yield Range("footage: P-MPJPE, mm", 0, 47.5), mean.p_mpjpe_mm


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--footage", metavar="DIR", help="recordings of keypoints with truth")
    args = parser.parse_args()
    engine = make_engine("lite", None, "cpu")
    pictures = [half_size(p) for _, _, p in frames_of(open_source(ensure_demo_video()))]
    print(f"{machine()}; {engine.description}\n\n| figure | value | range | |\n|---|---|---|---|")
    figures = [
        *on_the_demo(lifted(pictures, engine), len(pictures)),
        *false_positives(pictures, engine),
        *recall(pictures, engine),
        *(on_footage(args.footage, engine) if args.footage else ()),
    ]
    outside = 0
    for at, value in figures:
        inside = at.low <= value <= at.high
        outside += not inside
        verdict = "" if inside else "OUTSIDE"
        print(f"| {at.name} | {value:.3g} | {at.low:g} to {at.high:g} | {verdict} |")
    return 1 if outside else 0


if __name__ == "__main__":
    sys.exit(main())
