"""Time and CPU of one picture: this project beside other packages, on the same pictures, in turns.

python benchmarks/peers.py
python benchmarks/peers.py --reference DIR          # a checkout of the published TCPFormer
python benchmarks/peers.py --model rtmo-s.onnx      # more models, run by the detector onnx
python benchmarks/peers.py --network rtmpose-m.onnx # the network alone, whatever it answers

Networks with random weights take the same time. This makes one of YOLO's (AGPL-3.0):

    pip install ultralytics && yolo export model=yolo11n-pose.yaml format=onnx

The pictures are the demo video (1768x994, two people) and its cut-out of one person (640x480). CPU
is of all threads of the process: unlike wall time it does not grow with other load. What waits for
a picture that comes at its time is not measured here: `latency.py` does that.

Packages whose weights are in no package registry have a row that says so.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from graph import one_person_clip
from published_tcpformer import reference

from emf_ros import Camera, SkeletonTracker
from emf_ros.detect.factory import make_detector
from emf_ros.detect.protocol import DetectorError
from emf_ros.detect.weights import available_variants
from emf_ros.downloads.cache import DownloadError
from emf_ros.downloads.videos import ensure_demo_video
from emf_ros.io.video import frames_of, open_source
from emf_ros.people import MIN_SCORE, PeopleTracker
from emf_ros.runtime.machine import load, machine
from emf_ros.runtime.onnx import default_threads, make_session

RATE_HZ = 30.0
#: Number of pictures of the demo video at which both people are tracked by all detectors.
FIRST_PICTURE = 60
#: Number of pictures that fill windows and caches, and are not measured.
UNTIMED = 30
#: Row of the table that the others are compared with.
BASE = "MediaPipe full, Python"

#: What one gets of a package for a picture.
KEYPOINTS, BODIES, POSES = "2D, ids", "2D, 3D of each picture", "3D, of a window, ids"

#: Why a package has no figures.
NOT_AVAILABLE = {
    "rtmlib, RTMPose and RTMO": "the package loads its weights from its own server only; with a "
    "file: --model rtmo-s.onnx",
    "MoveNet Lightning, Thunder": "no registry has them as ONNX (docs/experiments/onnx.md has "
    "figures of converted ones); with a file: --model movenet_lightning.onnx",
}

#: Processes one picture (H, W, 3) uint8 RGB of a stamp, ns.
Take = Callable[[np.ndarray, int], object]


@dataclass
class Peer:
    """One row of the table.

    Attributes:
        name, gives: of the row.
        take: processes a picture.
        every: takes one of so many pictures; the slow ones would hold up all.
        close: ends it.
        wall_ms, cpu_ms: of each picture.
    """

    name: str
    gives: str
    take: Take
    every: int = 1
    close: Callable[[], object] = lambda: None
    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    def measure(self, picture: np.ndarray, stamp_ns: int) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        self.take(picture, stamp_ns)
        self.wall_ms.append(1000 * (time.perf_counter() - wall))
        self.cpu_ms.append(1000 * (time.process_time() - cpu))


def ours(people: int, size: tuple[int, int]) -> Iterator[Peer]:
    """This project: people in 2D, and the whole way to 3D."""
    for variant in available_variants():
        if variant == "heavy":
            continue
        tracker = PeopleTracker.make("blazepose", variant, people, device="cpu")
        yield Peer(f"emf_ros, 2D, {variant}", KEYPOINTS, tracker.update, close=tracker.close)
    for variant in available_variants():
        if variant == "heavy":
            continue
        whole = SkeletonTracker(
            Camera.from_fov(*size, 60.0),
            variant=variant,
            max_people=people,
            color="rgb",
            device="cpu",
        )

        def take(picture: np.ndarray, ns: int, whole: SkeletonTracker = whole) -> object:
            return whole(picture, ns / 1e9)

        yield Peer(f"emf_ros, 2D and 3D, {variant}", POSES, take, close=whole.close)


def mediapipe(people: int) -> Iterator[Peer]:
    for variant in ("lite", "full"):
        detector = make_detector("mediapipe", variant, people, MIN_SCORE)
        yield Peer(f"MediaPipe {variant}, Python", BODIES, detector.detect, close=detector.close)


def tcpformer(checkout: str, people: int) -> Iterator[Peer]:
    """The published network, a pass for each picture; its keypoints come from elsewhere."""
    for frames in (27, 81):
        network = reference(checkout, frames)
        keypoints = torch.randn(people, frames, 17, 3)

        def take(picture: np.ndarray, ns: int, n: Any = network, x: Any = keypoints) -> object:
            with torch.inference_mode():
                return n(x)

        name = f"TCPFormer, published, T {frames}: lifting alone, torch"
        yield Peer(name, "3D", take, every=UNTIMED // 2)


def own_model(path: Path, people: int) -> Peer:
    detector = make_detector("onnx", "", people, MIN_SCORE, model=str(path), device="cpu")
    return Peer(f"{path.stem}, detector onnx", "2D", detector.detect, close=detector.close)


def network(path: Path) -> Peer:
    """An ONNX network with one image as its input, without decoding."""
    session = make_session(path, default_threads())
    (entry,) = session.get_inputs()
    channels_first = entry.shape[1] == 3
    height, width = entry.shape[2:4] if channels_first else entry.shape[1:3]

    def take(picture: np.ndarray, stamp_ns: int) -> object:
        scaled = cv2.resize(picture, (width, height)).astype(np.float32) / 255
        scaled = scaled.transpose(2, 0, 1) if channels_first else scaled
        return session.run(None, {entry.name: np.ascontiguousarray(scaled[None])})

    return Peer(f"{path.stem}: the network alone", "", take)


def pictures(video: Path, first: int, count: int) -> list[np.ndarray]:
    source = open_source(str(video))
    taken = [
        cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        for index, _, picture in frames_of(source)
        if first <= index < first + count
    ]
    source.close()
    return taken


def table(case: str, images: list[np.ndarray], people: int, args: argparse.Namespace) -> None:
    size = images[0].shape[1], images[0].shape[0]
    peers = [*ours(people, size), *mediapipe(people)]
    if args.reference:
        peers += tcpformer(args.reference, people)
    peers += [own_model(path, people) for path in args.model]
    peers += [network(path) for path in args.network]
    for index, image in enumerate(images):
        # Each goes on from its last picture, so that all see the same noise of the machine.
        for peer in peers:
            if index % peer.every == 0:
                peer.measure(image, round(1e9 * index / RATE_HZ))
    for peer in peers:
        peer.close()
    timed = {
        peer.name: [v[UNTIMED // peer.every :] for v in (peer.wall_ms, peer.cpu_ms)]
        for peer in peers
    }
    for peer in peers:
        wall_ms, cpu_ms = timed[peer.name]
        print(
            f"| {case} | {peer.name} | {peer.gives} | {np.median(wall_ms):.1f} "
            f"| {np.percentile(wall_ms, 95):.1f} | {np.mean(cpu_ms):.1f} "
            f"| {np.mean(cpu_ms) / np.mean(timed[BASE][1]):.2f} |",
            flush=True,
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=120, help="pictures of each case")
    parser.add_argument("--reference", metavar="DIR", help="a checkout of the published TCPFormer")
    parser.add_argument("--model", type=Path, nargs="*", default=[], help="run by detector onnx")
    parser.add_argument("--network", type=Path, nargs="*", default=[], help="run without decoding")
    args = parser.parse_args()
    torch.set_num_threads(default_threads())
    print(f"{machine()}; {load()}; {default_threads()} threads\n")
    print(
        "| pictures | package | gives | wall p50, ms | p95 | CPU mean, ms "
        "| CPU to MediaPipe full |\n" + "|---" * 7 + "|"
    )
    try:
        for path in (*args.model, *args.network):
            if not path.is_file():
                raise DetectorError(f"there is no file {path}")
        count = args.count + UNTIMED
        with tempfile.TemporaryDirectory() as folder:
            clip = one_person_clip(Path(folder))
            table("640x480, one person", pictures(clip, 0, count), 1, args)
        demo = pictures(ensure_demo_video(), FIRST_PICTURE, count)
        table("1768x994, two people", demo, 2, args)
    except (DetectorError, DownloadError, ImportError) as error:
        print(f"peers: {error}", file=sys.stderr)
        return 1
    for name, why in NOT_AVAILABLE.items():
        print(f"| | {name} | | not measured: {why} | | | |")
    if not args.reference:
        print("| | TCPFormer, published | | not measured: --reference names its checkout | | | |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
