"""Four calibrated cameras around one person: the recording, and its truth by triangulation.

The recording is Pose2Sim's demonstration (BSD-3-Clause, fetched from PyPI): a person balances and
staggers, 100 images at 60 Hz from each camera. The truth is triangulated from BlazePose "heavy"
in all four cameras, smoothed, and moved from where BlazePose marks joints to anatomical joint
centres. Its rays miss each other by 1 to 3 cm.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import cv2
import numpy as np

from ..detect.factory import make_detector
from ..detect.protocol import DetectorError
from ..downloads.cache import DownloadError
from ..downloads.videos import ensure_four_cameras
from ..geometry.camera import Camera
from ..io.one_line import one_line
from ..io.outputs import OutputError, replacing
from ..io.paths import cache_folder
from ..io.progress import say
from ..io.video import frames_of, open_source
from ..skeletons import BLAZEPOSE33, H36M17
from .anatomy import move_joints
from .detector_layouts import LAYOUT_MODELS
from .multiview import View, smooth, triangulate
from .truth import Truth

#: Variant of BlazePose whose keypoints are triangulated.
TRUTH_VARIANT = "heavy"
#: Minimum score of a person whose keypoints are triangulated.
MIN_SCORE = 0.3

#: Joints of the truth: those that BlazePose marks and whose anatomical centres are known.
JOINTS = tuple(
    f"{side}_{kind}"
    for side in ("left", "right")
    for kind in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
)


def read_views() -> list[View]:
    """The cameras of the recording, from the calibration file of Qualisys.

    The file gives intrinsics in sixty-fourths of a pixel and lengths in millimetres. Its camera
    looks along -z with y up.

    Raises:
        DownloadError: the recording is not there and cannot be fetched.
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
        rotation = np.array(numbers("transform", *(f"r{i}{j}" for i in "123" for j in "123")))
        source = open_source(video)
        source.close()
        matrix = np.array([[fu / 64, 0, cu / 64], [0, fv / 64, cv / 64], [0, 0, 1]])
        out.append(
            View(
                video,
                Camera(matrix, source.size, np.array(lens)),
                np.diag([1.0, -1.0, -1.0]) @ rotation.reshape(3, 3),
                np.array(numbers("transform", "x", "y", "z")) / 1000,
            )
        )
    return out


def largest_person(view: View, variant: str) -> np.ndarray:
    """(N, 33, 3) px, px, score of the largest person in each image; NaN without one."""
    source = open_source(view.video)
    detector = make_detector("blazepose", variant, 1, MIN_SCORE)
    out = []
    for _, stamp, image in frames_of(source):
        found = detector.detect(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), round(stamp * 1e9))
        found.sort(key=lambda d: -np.ptp(d.keypoints[:, :2], axis=0).prod())
        unknown = np.full((len(BLAZEPOSE33), 3), np.nan)
        out.append(found[0].keypoints if found else unknown)
    detector.close()
    source.close()
    return np.stack(out)


def triangulated(views: list[View]) -> tuple[np.ndarray, np.ndarray]:
    """Stamps (N,) s, and points (N, 33, 3) m in the world where BlazePose marks them.

    Raises:
        DownloadError: the detector is not there and cannot be fetched.
    """
    points, _ = triangulate(views, _keypoints(views))
    source = open_source(views[0].video)
    source.close()
    return np.arange(len(points)) / source.rate_hz, smooth(points, source.rate_hz)


def _keypoints(views: list[View]) -> np.ndarray:
    """(4, N, 33, 3) of `largest_person`, detected once and kept in the cache folder."""
    cached = cache_folder() / "four_cameras" / f"blazepose_{TRUTH_VARIANT}.npy"
    try:
        return np.load(cached)
    except FileNotFoundError:
        pass
    except (EOFError, OSError, ValueError) as error:
        say(f"{cached} is damaged ({one_line(error)}): its keypoints are detected anew")
    try:
        found = np.stack([largest_person(view, TRUTH_VARIANT) for view in views])
    except DetectorError as error:
        raise DownloadError(str(error)) from None
    try:
        with replacing(cached) as part, part.open("wb") as file:
            np.save(file, found)
    except OutputError as error:
        say(f"{error}: the next evaluation detects again")
    return found


def anatomical(points: np.ndarray) -> np.ndarray:
    """(N, 33, 3) m where BlazePose marks joints -> (N, 12, 3) m, `JOINTS` at anatomical centres."""
    rows = [H36M17.index(name) for name in JOINTS]
    marked = np.full((len(points), len(H36M17), 3), np.nan)
    marked[:, rows] = points[:, [BLAZEPOSE33.index(name) for name in JOINTS]]
    offsets = LAYOUT_MODELS["blazepose33"].offsets
    return move_joints(marked, {kind: -offset for kind, offset in offsets.items()})[:, rows]


def truth_of(view: View, stamps: np.ndarray, points: np.ndarray) -> Truth:
    """The truth of `triangulated` in a camera's frame."""
    return Truth.from_points(stamps, view.from_world(anatomical(points)), JOINTS, True)
