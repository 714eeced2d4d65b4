"""False positives of the detectors, and people that verification rejects.

python benchmarks/false_positives.py PICTURES [--objects CUTOUTS]

PICTURES is a folder of photographs without people. Each is shown for two seconds, as from a
hand-held camera. CUTOUTS is a folder of objects with an alpha channel (PNG). Ten of them are drawn
over one of the photographs. The figures in docs/experiments/detection.md are of Debian's wallpapers
and stamps:

    apt-get download gnome-backgrounds lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 \\
        mate-backgrounds plasma-workspace-wallpapers ukui-wallpapers tuxpaint-stamps-default
    for package in *.deb; do dpkg -x $package debian; done
    python benchmarks/false_positives.py debian/usr/share/backgrounds debian/usr/share/wallpapers \\
        --objects debian/usr/share/tuxpaint/stamps/{animals,food,household,plants,town,vehicles}

The people are those of the demo video, one by one: unchanged, truncated, occluded, small or
degraded. Each has to be detected within five images. The true keypoints are those that the detector
reports in the whole video.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from degraded_pictures import jpeg, low_contrast, motion_blur
from detection import MIN_SCORE

from emf_ros.detect.blazepose import BlazePoseDetector
from emf_ros.detect.factory import make_detector
from emf_ros.detect.protocol import Detector, DetectorError
from emf_ros.downloads.cache import DownloadError
from emf_ros.downloads.videos import ensure_demo_video
from emf_ros.io.video import frames_of, open_source
from emf_ros.people import PeopleTracker
from emf_ros.runtime.machine import load, machine
from emf_ros.track import WEAK
from emf_ros.types import Pose2D

FRAME_NS = 33_333_333
#: Number of images for which each scene is shown.
SHOWN = 60
#: Longer side of an image, px.
SIDE = 1280
#: Number of objects in a scene.
OBJECTS = 10
#: Maximum number of images until a person is detected.
SOON = 5
#: Maximum distance of equal keypoints, as a share of the person's size.
SAME = 0.1


@dataclass(frozen=True)
class Backend:
    """A detector under test.

    Attributes:
        name, variant: of the detector.
        checked: whether verification rejects false positives.
    """

    name: str
    variant: str
    checked: bool = True

    def __str__(self) -> str:
        return f"{self.name} {self.variant}" + ("" if self.checked else ", unchecked")

    def make(self) -> Detector:
        detector = make_detector(self.name, self.variant, 8, WEAK * MIN_SCORE)
        if isinstance(detector, BlazePoseDetector) and not self.checked:

            def certain(_: object, poses: Sequence[object]) -> list[float]:
                return [np.inf] * len(poses)

            setattr(detector, "_likelihood_ratios", certain)  # noqa: B010 - mypy knows no other way
        return detector


# ---------------------------------------------------------------------------------- no people


def photographs(folders: Sequence[Path]) -> Iterator[np.ndarray]:
    """RGB images; one of each folder that holds one image in many sizes."""
    seen = set()
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            of = path.parent if path.stem.replace("x", "").isdigit() else path
            picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if of in seen or picture is None or min(picture.shape[:2]) < 400:
                continue
            seen.add(of)
            scale = SIDE / max(picture.shape[:2])
            picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            yield cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def scenes(
    pictures: Sequence[np.ndarray], folders: Sequence[Path], count: int, seed: int
) -> Iterator[np.ndarray]:
    """Images with objects drawn over them."""
    generator = np.random.default_rng(seed)
    paths = sorted(p for folder in folders for p in folder.rglob("*.png"))
    for _ in range(count):
        scene = cv2.resize(pictures[int(generator.integers(len(pictures)))], (SIDE, SIDE * 9 // 16))
        put = 0
        while put < OBJECTS:
            cut = cv2.imread(str(paths[generator.integers(len(paths))]), cv2.IMREAD_UNCHANGED)
            if cut is None or cut.ndim < 3 or cut.shape[2] < 4:
                continue
            scale = generator.uniform(80, 420) / max(cut.shape[:2])
            cut = cv2.resize(cut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            height, width = cut.shape[:2]
            y = generator.integers(scene.shape[0] - height)
            x = generator.integers(scene.shape[1] - width)
            there = scene[y : y + height, x : x + width]
            there += (cut[..., 3:] / 255 * (cut[..., 2::-1] - there.astype(float))).astype(np.uint8)
            put += 1
        yield scene


def hand_held(picture: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """The image as a hand-held camera shows it, with noise."""
    generator = np.random.default_rng(0)
    height, width = picture.shape[:2]
    for index in range(count):
        angle = 0.007 * np.sin(index / 9)
        matrix = np.array([[1, -angle, 3 * np.sin(index / 5)], [angle, 1, 2 * np.cos(index / 7)]])
        moved = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
        noise = generator.normal(0, 3, (height, width, 1))
        yield (moved + noise).clip(0, 255).astype(np.uint8)


def false_positives_in(picture: np.ndarray, backend: Backend) -> list[int]:
    """The number of reported people in each shown image."""
    detector = backend.make()
    tracker = PeopleTracker(detector.layout, detector)
    counts = []
    for index, shown in enumerate(hand_held(picture, SHOWN)):
        counts.append(len(tracker.update(shown, index * FRAME_NS)))
    tracker.close()
    return counts


def no_people(title: str, pictures: Sequence[np.ndarray], backends: Sequence[Backend]) -> None:
    for backend in backends:
        counts = np.array([false_positives_in(picture, backend) for picture in pictures])
        print(
            f"| {title} | {backend} | {(counts.max(axis=1) > 0).sum()} of {len(counts)} "
            f"| {100 * counts.sum() / counts.size:.1f} |",
            flush=True,
        )


# ---------------------------------------------------------------------------------- people


def people(every: int) -> Iterator[tuple[np.ndarray, Pose2D]]:
    """RGB images of the demo, each with a person of high score."""
    detector = Backend("blazepose", "full").make()
    for index, _, picture in frames_of(open_source(ensure_demo_video())):
        rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        found = detector.detect(rgb, index * FRAME_NS)
        if index % every == every // 2:
            yield from ((rgb, person) for person in found if person.score > 0.8)
    detector.close()


def conditions(picture: np.ndarray, person: Pose2D) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Variants of an image: title, result, and the person's keypoints in it."""
    generator = np.random.default_rng(0)
    height, width = picture.shape[:2]
    x, y, across, tall = person.box()
    points = person.keypoints[:, :2]
    middle = x + across / 2

    def titled(
        title: str, made: tuple[np.ndarray, np.ndarray]
    ) -> tuple[str, np.ndarray, np.ndarray]:
        return title, made[0], made[1]

    def window(
        left: float, top: float, right: float, bottom: float
    ) -> tuple[np.ndarray, np.ndarray]:
        a, b = (max(round(v), 0) for v in (left, top))
        return picture[b : round(bottom), a : round(right)].copy(), points - (a, b)

    def covered(top: float, bottom: float) -> np.ndarray:
        out = picture.copy()
        rows = slice(max(round(y + top * tall), 0), max(round(y + bottom * tall), 0))
        out[rows, max(round(x - 20), 0) : round(x + across + 20)] = picture.mean(axis=(0, 1))
        return out

    def small(pixels: float) -> tuple[np.ndarray, np.ndarray]:
        scale = pixels / tall
        out = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return out, points * scale

    dark = 0.2 * picture + generator.normal(0, 8, picture.shape)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    yield "unchanged", picture, points
    yield titled("upper 60 %", window(0, 0, width, y + 0.6 * tall))
    yield titled("upper 40 %", window(0, 0, width, y + 0.4 * tall))
    yield titled(
        "head and chest fill the image",
        window(middle - 0.45 * tall, y - 0.05 * tall, middle + 0.45 * tall, y + 0.45 * tall),
    )
    yield titled("one half", window(middle, 0, width, height))
    yield "lower half occluded", covered(0.5, 1.05), points
    yield "head occluded", covered(-0.1, 0.25), points
    yield titled("110 px tall", small(110))
    yield titled("70 px tall", small(70))
    yield "motion blur 31 px", motion_blur(picture, generator), points
    yield "low contrast", low_contrast(picture, generator), points
    yield "dark, noisy", dark.clip(0, 255).astype(np.uint8), points
    yield "jpeg quality 8", jpeg(picture, generator), points
    yield "grey", cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), points


def is_detected(picture: np.ndarray, points: np.ndarray, backend: Backend) -> bool:
    """Whether a person is detected in one of the first images."""
    height, width = picture.shape[:2]
    inside = ((points >= 0) & (points < (width, height))).all(axis=1)
    size = np.hypot(*np.ptp(points, axis=0))
    detector = backend.make()
    try:
        for index, shown in enumerate(hand_held(picture, SOON)):
            for found in detector.detect(shown, index * FRAME_NS):
                apart = np.linalg.norm(found.keypoints[:, :2] - points, axis=1)[inside]
                if np.median(apart) < SAME * size:
                    return True
    finally:
        detector.close()
    return False


def with_people(every: int, backends: Sequence[Backend]) -> None:
    found: dict[str, list[list[bool]]] = {}
    for picture, person in people(every):
        for how, shown, points in conditions(picture, person):
            if min(shown.shape[:2]) >= 40:
                found.setdefault(how, []).append(
                    [is_detected(shown, points, backend) for backend in backends]
                )
    for how, rows in found.items():
        cells = [f"{share:.2f}" for share in np.mean(rows, axis=0)]
        print(f"| {how} | {len(rows)} | {' | '.join(cells)} |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pictures", type=Path, nargs="*", help="folders of photographs")
    parser.add_argument("--objects", type=Path, nargs="*", default=[], help="folders of PNG files")
    parser.add_argument("--scenes", type=int, default=50, help="with objects (50)")
    parser.add_argument("--seed", type=int, default=7, help="of the scenes (7)")
    parser.add_argument("--variants", nargs="+", default=["full", "lite"])
    parser.add_argument("--every", type=int, default=12, help="interval of the demo's frames (12)")
    options = parser.parse_args()
    backends = [
        Backend("blazepose", variant, checked)
        for variant in options.variants
        for checked in (False, True)
    ]
    print(f"{machine()}; {load()}\n")
    try:
        pictures = list(photographs(options.pictures))
        if pictures:
            others = [*backends, *(Backend("mediapipe", variant) for variant in options.variants)]
            print("| without people | detector | images with false positives | per 100 images |")
            print("|---" * 4 + "|")
            no_people("photographs", pictures, others)
            if options.objects:
                made = list(scenes(pictures, options.objects, options.scenes, options.seed))
                no_people("objects", made, others)
            print()
        print(f"| people, detected within {SOON} images | number | ", end="")
        print(" | ".join(map(str, backends)) + " |\n" + "|---" * (2 + len(backends)) + "|")
        with_people(options.every, backends)
    except (DetectorError, DownloadError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
