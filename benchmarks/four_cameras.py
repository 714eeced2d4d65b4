"""One camera's 3D against the truth of four: a lifter beside MediaPipe's world landmarks.

python benchmarks/four_cameras.py [--weights FILE] [--lags 0 4 8]

A person balances and staggers before four calibrated and synchronised cameras (Pose2Sim's
demonstration, BSD-3-Clause, fetched from PyPI; 100 pictures at 60 Hz each). The truth is
triangulated from BlazePose "heavy" in all four, and smoothed; each camera alone is then lifted as
the live system would, from every --every-th picture, and compared in that camera's frame with what
MediaPipe makes of the same pictures.

What the truth is worth: its rays miss one another by 5 to 15 px, 1 to 3 cm at the person, and its
joints are where BlazePose marks them, not where a motion capture's markers would put them. That is
fair to both: they see the same detector's keypoints.

A second table parts the lifter's error: what is left when it is given the truth's own projections
in place of a detector's keypoints, and when the constant differences of the joints' places are
taken out. Those are the mean differences in the body's own frame (right, up along the trunk,
forward), of the other three cameras.
"""

from __future__ import annotations

import argparse
import json
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from emf_ros.detect.factory import make_detector
from emf_ros.downloads.videos import ensure_four_cameras
from emf_ros.geometry.camera import Camera
from emf_ros.io.frame_source import FrameSource
from emf_ros.io.paths import cache_folder
from emf_ros.io.video import frames_of, open_source
from emf_ros.lift.config import PipelineConfig
from emf_ros.lift.engine import Engine, make_engine
from emf_ros.lift.pipeline import LiftPipeline, lift_together
from emf_ros.runtime.machine import machine
from emf_ros.skeletons import BLAZEPOSE33, H36M17, conversion_matrix
from emf_ros.train.multiview import View, smooth, triangulate
from emf_ros.train.video import BLAZEPOSE, OURS, Truth, evaluate_video
from emf_ros.types import Frame2D, Pose2D


def read_views() -> list[View]:
    """The recording's cameras, from Qualisys's calibration file.

    It gives sixty-fourths of pixels and millimetres; its camera looks along -z with y up.
    """
    calibration, videos = ensure_four_cameras()
    out = []
    cameras = ElementTree.parse(calibration).getroot().iter("camera")
    for video, element in zip(videos, cameras, strict=True):

        def numbers(tag: str, *names: str, element: Any = element) -> list[float]:
            return [float(element.find(tag).attrib[name]) for name in names]

        fu, fv, cu, cv = numbers(
            "intrinsic", "focalLengthU", "focalLengthV", "centerPointU", "centerPointV"
        )
        lens = numbers(
            "intrinsic",
            *("radialDistortion1", "radialDistortion2"),
            *("tangentalDistortion1", "tangentalDistortion2", "radialDistortion3"),
        )
        turn = np.array(numbers("transform", *(f"r{i}{j}" for i in "123" for j in "123")))
        source = open_source(video)
        source.close()
        matrix = np.array([[fu / 64, 0, cu / 64], [0, fv / 64, cv / 64], [0, 0, 1]])
        out.append(
            View(
                video,
                Camera(matrix, source.size, np.array(lens)),
                np.diag([1.0, -1.0, -1.0]) @ turn.reshape(3, 3),
                np.array(numbers("transform", "x", "y", "z")) / 1000,
            )
        )
    return out


class EveryNth:
    """A video of which only every n-th picture is taken: a `FrameSource` itself."""

    live, pixel_aspect = False, 1.0

    def __init__(self, source: FrameSource, n: int) -> None:
        self._source, self._n = source, n
        self.size, self.rate_hz, self.count = source.size, source.rate_hz / n, -(-source.count // n)
        self.notice = source.notice

    @property
    def unreadable(self) -> int:
        return self._source.unreadable

    @property
    def other_sizes(self) -> Counter[tuple[int, int]]:
        return self._source.other_sizes

    def grab(self) -> tuple[int, float] | None:
        while (grabbed := self._source.grab()) is not None:
            number, time_s = grabbed
            if number % self._n == 0:
                return number // self._n, time_s
        return None

    def retrieve(self) -> np.ndarray | None:
        return self._source.retrieve()

    def times(self) -> np.ndarray | None:
        times = self._source.times()
        return None if times is None else times[:: self._n]

    def rewind(self) -> bool:
        return self._source.rewind()

    def close(self) -> None:
        self._source.close()


def keypoints(view: View, variant: str) -> np.ndarray:
    """(N, 33, 3) px, px, score of the largest person in each picture; NaN where nobody is."""
    source = open_source(view.video)
    detector = make_detector("mediapipe", variant, 2, 0.3)
    out = []
    for _, stamp, picture in frames_of(source):
        found = detector.detect(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), round(stamp * 1e9))
        found.sort(key=lambda d: -np.ptp(d.keypoints[:, :2], axis=0).prod())
        nobody = np.full((len(BLAZEPOSE33), 3), np.nan)
        out.append(found[0].keypoints if found else nobody)
    detector.close()
    source.close()
    return np.stack(out)


def world_truth(views: list[View]) -> tuple[np.ndarray, np.ndarray]:
    """Stamps (N,) s and points (N, 33, 3) m in the world; detected once and kept."""
    cached = cache_folder() / "four_cameras" / "heavy.npy"
    if not cached.is_file():
        seen = np.stack([keypoints(view, "heavy") for view in views])
        cached.parent.mkdir(parents=True, exist_ok=True)
        np.save(cached, seen)
    points, miss = triangulate(views, np.load(cached))
    source = open_source(views[0].video)
    source.close()
    used = [i for i, row in enumerate(conversion_matrix(BLAZEPOSE33, H36M17).T) if row.any()]
    print(
        f"truth: rays miss by {1000 * np.nanmedian(miss[:, :, used]):.0f} mm in the median, "
        f"{100 * np.isnan(miss[:, :, used]).mean():.1f} % left out"
    )
    return np.arange(len(points)) / source.rate_hz, smooth(points, source.rate_hz)


def lifted(
    view: View, engine: Engine, seen: np.ndarray, stamps: np.ndarray, every: int
) -> dict[int, np.ndarray]:
    """Root-relative joints (17, 3) m at lag 0 of keypoints (N, 33, 3), by the picture's number."""
    pipeline = LiftPipeline(engine, PipelineConfig(lag=0))
    pipeline.set_camera(view.camera)
    out = {}
    for index in range(0, len(seen), every):
        if not np.isfinite(seen[index]).all(axis=1).any():
            continue
        stamp_ns = round(stamps[index] * 1e9)
        person = Pose2D(seen[index], track_id=1)
        pipeline.observe(Frame2D(stamp_ns, "", BLAZEPOSE33.name, view.camera.size, [person]))
        (result,) = lift_together([pipeline])
        if result is not None and np.isfinite(result.people[0].joints).all():
            joints = result.people[0].joints
            out[index] = joints - joints[0]
    return out


def body_frame(poses: np.ndarray) -> np.ndarray:
    """(N, 3, 3), its rows the directions right, up along the trunk, and forward of (N, 17, 3)."""
    pelvis, thorax, right, left = (
        poses[:, H36M17.index(name)] for name in ("pelvis", "thorax", "right_hip", "left_hip")
    )
    up = thorax - pelvis
    up /= np.linalg.norm(up, axis=-1, keepdims=True)
    across = right - left
    across -= (across * up).sum(axis=-1, keepdims=True) * up
    across /= np.linalg.norm(across, axis=-1, keepdims=True)
    return np.stack([across, up, np.cross(across, up)], axis=1)


def print_parts(
    title: str, views: list[View], world: np.ndarray, poses: list[dict[int, np.ndarray]]
) -> None:
    """A row of the second table: the mean over the cameras."""
    sums: list[list[float]] = []
    differences = []
    for view, own in zip(views, poses, strict=True):
        truth = view.from_world(world)
        used = [index for index in own if np.isfinite(truth[index]).all()]
        true = truth[used] - truth[used][:, :1]
        away = np.stack([own[index] for index in used]) - true
        differences.append(np.einsum("nij,nkj->nki", body_frame(true), away))
        sums.append([1000 * np.linalg.norm(away, axis=-1).mean()])
    for index, own_differences in enumerate(differences):
        others = np.concatenate([d for i, d in enumerate(differences) if i != index])
        left = own_differences - others.mean(axis=0)
        sums[index].append(1000 * np.linalg.norm(left, axis=-1).mean())
    print(f"| {title} | {' | '.join(cell(v) for v in np.mean(sums, axis=0))} |", flush=True)


def cell(value: float) -> str:
    return f"{value:.1f}" if np.isfinite(value) else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="lite")
    parser.add_argument("--weights", help="in place of the preset's")
    parser.add_argument("--variant", default="full", help="of the detector that is lifted (full)")
    parser.add_argument("--lags", type=int, nargs="*", default=[0, 4, 8], help="(0 4 8)")
    parser.add_argument("--every", type=int, default=2, help="picture is taken (2: 30 Hz)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", help="a JSON file for all figures")
    args = parser.parse_args()
    views = read_views()
    stamps, points = world_truth(views)
    world = conversion_matrix(BLAZEPOSE33, H36M17) @ points
    engine = make_engine(args.preset, args.weights, args.device)
    print(f"{machine()}; {engine.description}; BlazePose {args.variant}\n")
    head = ("camera", "method", "MPJPE, mm", "P-MPJPE, mm", "acceleration error, m/s²")
    more = ("acceleration, m/s²", "bones vary by, %", "root's error, %", "inside one stddev, %")
    head = (*head, *more, "frames")
    print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    reports: dict[str, dict[str, Any]] = {}
    rows: dict[str, list[list[float]]] = {}
    for view in views:
        for lag in args.lags:
            report = evaluate_video(
                EveryNth(open_source(view.video), args.every),
                view.camera,
                engine,
                lag,
                variant=args.variant,
                truth=Truth(stamps, view.from_world(world)),
            )
            reports[f"{view.video.stem}, lag {lag}"] = report
            for method in (BLAZEPOSE, OURS) if lag == args.lags[0] else (OURS,):
                name = f"{method}, lag {lag}" if method == OURS else method
                figures = report[method]
                row = [figures[k] for k in ("mpjpe_mm", "p_mpjpe_mm", "acceleration_error_m_s2")]
                row += [figures["acceleration_m_s2"], 100 * figures["bone_variation"]]
                inside = figures["inside_stddev"]
                row += [100 * figures["root_error"], np.nan if inside is None else 100 * inside]
                rows.setdefault(name, []).append(row)
                cells = [view.video.stem, name, *map(cell, row)]
                print(f"| {' | '.join(cells)} | {report['frames']} |", flush=True)
    for name, all_of in rows.items():
        cells = ["mean", name, *map(cell, np.mean(all_of, axis=0))]
        print(f"| {' | '.join(cells)} | |")
    still = np.linalg.norm(np.diff(world[:: args.every], n=2, axis=0), axis=-1)[:, 1:].mean()
    rate = 1 / (stamps[1] * args.every)
    print(f"\nThe truth's own acceleration, in the world: {still * rate**2:.1f} m/s².")
    print("\n| lifter, lag 0, from | MPJPE, mm | less constant differences |\n|---|---|---|")
    exact = []
    for view in views:
        pixels = view.camera.project(view.from_world(points))
        exact.append(np.concatenate([pixels, np.ones_like(pixels[..., :1])], axis=-1))
    for title, seen in (
        ("the truth's projections", exact),
        (f"BlazePose {args.variant}", [keypoints(view, args.variant) for view in views]),
    ):
        poses = [lifted(v, engine, s, stamps, args.every) for v, s in zip(views, seen, strict=True)]
        print_parts(title, views, world, poses)
    if args.out:
        Path(args.out).write_text(json.dumps(reports, indent=1))


if __name__ == "__main__":
    main()
