"""Cameras against one lifter: recorded keypoints of N cameras at their rate, and the knee.

python benchmarks/fleet.py                      # two people in sight of each camera
python benchmarks/fleet.py --people 8 --keypoints recording.npz
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import rclpy
from graph import LISTENER_QOS, Graph, GraphError, one_person_clip, percentiles
from listener import STAMP, STAMP_OFFSET, raw_stamp_ns
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from emf_ros.detect.factory import make_detector
from emf_ros.detect.weights import available_variants
from emf_ros.geometry.camera import Camera
from emf_ros.io.recording_writer import RecordingWriter
from emf_ros.io.recordings import Recording, load_recording
from emf_ros.io.video import frames_of, open_source
from emf_ros.nodes import conversions
from emf_ros.nodes.qos import RELIABLE_QOS
from emf_ros.runtime.machine import load, machine
from emf_ros.skeletons import H36M17
from emf_ros.types import Frame2D, Pose2D
from emf_ros_msgs.msg import Skeleton2DArray, Skeleton3DArray

CACHE = Path(tempfile.gettempdir()) / "emf_ros_bench_keypoints.npz"
NANOSECONDS = 1_000_000_000

#: Time from the first skeleton to the measurement, s.
SETTLE_S = 3.0
#: Time from the end of the measurement until the last answer must be there, s.
DRAIN_S = 2.5

#: Number of cameras that one process publishes for.
CAMERAS_A_PUBLISHER = 8

#: Maximum share of the messages that are not lifted. Above it the lifter is overloaded.
MAX_MISSED_SHARE = 0.01
#: Minimum share of the intended messages that are published. Below it the publishers are the limit.
MIN_OFFERED_SHARE = 0.98


def demo_keypoints() -> Recording:
    """Keypoints of the demo video's one-person clip; from the second time on out of a file."""
    if CACHE.is_file():
        return load_recording(CACHE)
    print(f"finding keypoints, once; kept in {CACHE}", file=sys.stderr, flush=True)
    detector = make_detector("blazepose", available_variants()[0], 1, 0.4)
    joints = len(H36M17)
    with tempfile.TemporaryDirectory() as folder:
        source = open_source(one_person_clip(Path(folder)))
        width, height = source.size
        writer = RecordingWriter(detector.layout, (width, height))
        for index, seconds, picture in frames_of(source):
            found = detector.detect(
                np.ascontiguousarray(picture[..., ::-1]), round(seconds * NANOSECONDS)
            )
            if found:
                writer.add(
                    seconds,
                    index,
                    1,
                    found[0].keypoints,
                    np.full((joints, 3), np.nan),
                    np.full(joints, np.nan),
                    np.full(3, np.nan),
                    False,
                )
        source.close()
    detector.close()
    recording = writer.recording()
    recording.save(CACHE)
    return recording


def messages(recording: Recording, people: int) -> list[bytes]:
    """The serialized message of a detector: the person with the longest track, several times
    beside each other, forwards and backwards."""
    ids, rows = np.unique(recording.track_id, return_counts=True)
    keypoints = recording.keypoints_2d[recording.track_id == ids[np.argmax(rows)]]
    step = np.array([recording.image_size[0] / 20, 0.0, 0.0])
    return [
        serialize_message(
            conversions.keypoints_msg(
                Frame2D(
                    0,
                    "camera_optical_frame",
                    recording.layout.name,
                    recording.image_size,
                    [Pose2D(points + i * step, 0.9, i + 1) for i in range(people)],
                    0.0,
                )
            )
        )
        for points in [*keypoints, *keypoints[-2:0:-1]]
    ]


def stamped(message: bytearray, stamp_ns: int) -> bytes:
    """The serialized message with another stamp: building it anew would cost more than lifting."""
    STAMP.pack_into(message, STAMP_OFFSET, stamp_ns // NANOSECONDS, stamp_ns % NANOSECONDS)
    return bytes(message)


def publish(
    connection: Connection,
    namespace: str,
    cameras: list[tuple[str, float]],
    rate_hz: float,
    keypoints: list[bytes],
    info: bytes,
) -> None:
    """A process that publishes for some cameras until the other side has sent something; it then
    sends back all stamps.

    Args:
        connection: to the other side.
        namespace: of the topics.
        cameras: name and phase, as a share of a period.
        rate_hz: of each.
        keypoints, info: serialized messages, of all cameras the same.
    """
    rclpy.init()
    node = rclpy.create_node(f"bench_cameras_{os.getpid()}", namespace=namespace)
    topics = [
        (
            node.create_publisher(Skeleton2DArray, f"{name}/keypoints", RELIABLE_QOS),
            node.create_publisher(CameraInfo, f"{name}/camera_info", RELIABLE_QOS),
        )
        for name, _ in cameras
    ]
    pictures, camera_info = [bytearray(message) for message in keypoints], bytearray(info)
    # Staggered, and each somewhere else in the recording.
    turns = sorted((phase, i) for i, (_, phase) in enumerate(cameras))
    begin, sent, index = time.monotonic(), [], 0
    while not connection.poll():
        for phase, i in turns:
            wait = begin + (index + phase) / rate_hz - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            stamp_ns = time.time_ns()
            publish_keypoints, publish_info = topics[i]
            publish_info.publish(stamped(camera_info, stamp_ns))
            picture = pictures[(index + 17 * i) % len(pictures)]
            publish_keypoints.publish(stamped(picture, stamp_ns))
            sent.append(stamp_ns)
        index += 1
    connection.send(sent)
    node.destroy_node()
    rclpy.try_shutdown()


@dataclass
class Load:
    """Of one number of cameras.

    Attributes:
        cameras: how many.
        offered_hz, skeletons_hz: messages a second, published and received.
        p50_ms, p95_ms: from a keypoint message's stamp to its skeletons here.
        coalesced: share of the messages that a newer one replaced before they were lifted.
        missed: share that no skeletons came of, those and whatever was lost on the way.
        lift_ms: median of the diagnostics' samples, all cameras in one pass.
        lifter, publishers: CPU, % of a core.
    """

    cameras: int
    offered_hz: float
    skeletons_hz: float
    p50_ms: float
    p95_ms: float
    coalesced: float
    missed: float
    lift_ms: float
    lifter: float
    publishers: float

    def kept_up(self, rate_hz: float) -> bool:
        """Whether the publishers did what they were to do."""
        return self.offered_hz >= MIN_OFFERED_SHARE * rate_hz * self.cameras

    def held(self, budget_ms: float) -> bool:
        """Whether the lifter answered nearly all in time."""
        return self.p95_ms < budget_ms and max(self.coalesced, self.missed) < MAX_MISSED_SHARE


def measure(cameras: int, recording: Recording, args: argparse.Namespace) -> Load:
    names = [f"c{i}" for i in range(cameras)]
    camera = recording.camera or Camera.from_fov(*recording.image_size, 60.0)
    info = serialize_message(
        conversions.camera_info_msg(camera, Header(frame_id="camera_optical_frame"))
    )
    keypoints = messages(recording, args.people)
    spawn = multiprocessing.get_context("spawn")
    with Graph() as graph:
        received: list[tuple[int, int]] = []

        def take(message: bytes) -> None:
            # Raw: what is wanted is the stamp, and the lag is none.
            received_ns = time.time_ns()
            received.append((raw_stamp_ns(message), received_ns))

        for name in names:
            graph.node.create_subscription(
                Skeleton3DArray, f"{name}/skeletons", take, LISTENER_QOS, raw=True
            )
        lifter: dict[str, object] = {"cameras": names, "max_people": max(8, args.people)}
        graph.start("skeleton_lifter", skeleton_lifter=lifter)
        graph.spin_until(
            lambda: all(graph.node.count_subscribers(f"{name}/keypoints") for name in names),
            "the lifter listens to all cameras",
        )
        shared = [(name, i / cameras) for i, name in enumerate(names)]
        publishers = []
        for first in range(0, cameras, CAMERAS_A_PUBLISHER):
            here, there = spawn.Pipe()
            mine = shared[first : first + CAMERAS_A_PUBLISHER]
            process = spawn.Process(
                target=publish,
                args=(there, graph.namespace, mine, args.rate, keypoints, info),
                daemon=True,
            )
            process.start()
            publishers.append((process, here))
        graph.spin_until(lambda: len(received) >= 5 * cameras, "first skeletons")
        graph.spin_for(SETTLE_S)
        begin_ns = time.time_ns()
        usage = graph.usage(
            {f"publisher {i}": p.pid for i, (p, _) in enumerate(publishers) if p.pid}
        )
        graph.spin_for(args.seconds)
        end_ns = time.time_ns()
        cpu = usage.percent()
        graph.spin_for(DRAIN_S)
        offered = 0
        for process, here in publishers:
            here.send(None)
            offered += sum(begin_ns <= ns < end_ns for ns in here.recv())
            process.join()
        wall_s = (begin_ns / 1e9, end_ns / 1e9)
        coalesced, spanned_s = graph.counted("skeleton_lifter", "coalesced", *wall_s)
        lift_ms = graph.sampled("skeleton_lifter", "lift_ms", *wall_s)
    ages = np.array([(at - ns) / 1e6 for ns, at in received if begin_ns <= ns < end_ns])
    p50, p95, _ = percentiles(ages)
    return Load(
        cameras,
        offered / args.seconds,
        len(ages) / args.seconds,
        p50,
        p95,
        coalesced / spanned_s / (offered / args.seconds),
        1 - len(ages) / offered,
        percentiles(lift_ms)[0],
        cpu["skeleton_lifter"],
        sum(share for name, share in cpu.items() if name.startswith("publisher")),
    )


def print_row(row: Load, rate_hz: float) -> None:
    print(
        f"| {row.cameras} | {row.offered_hz:.1f} | {row.skeletons_hz:.1f} | {row.p50_ms:.1f} "
        f"| {row.p95_ms:.1f} | {100 * row.coalesced:.1f} | {100 * row.missed:.1f} "
        f"| {row.lift_ms:.1f} | {row.lifter:.0f} | {row.publishers:.0f}"
        + (" |" if row.kept_up(rate_hz) else ": they did not keep up |"),
        flush=True,
    )


def find_knee(recording: Recording, args: argparse.Namespace) -> None:
    """Double the cameras until it is too much, then halve the step until the knee is known."""
    most, beyond, cameras = 0, None, 1
    while beyond is None or beyond.cameras - most > 1:
        row = measure(cameras, recording, args)
        print_row(row, args.rate)
        if row.held(args.budget_ms) and row.kept_up(args.rate):
            most = cameras
        else:
            beyond = row
        if beyond is not None:
            cameras = (most + beyond.cameras) // 2
        elif cameras == args.most:
            break
        else:
            cameras = min(2 * cameras, args.most)
    what = f"{most} cameras with {args.people} people at {args.rate:g} Hz"
    if beyond is None:
        print(f"\nknee: above {what}, the most that were tried")
    elif beyond.held(args.budget_ms):
        print(f"\nknee: above {what}; with more, the publishers are the limit, not the lifter")
    else:
        print(
            f"\nknee: {what}; with {beyond.cameras}, p95 is over {args.budget_ms:g} ms, or "
            f"more than {100 * MAX_MISSED_SHARE:g} % are not lifted"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=2, help="in sight of each camera")
    parser.add_argument("--rate", type=float, default=30.0, help="of each camera, Hz")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each number of cameras")
    parser.add_argument("--budget-ms", type=float, default=100.0, help="for p95 of the age")
    parser.add_argument(
        "--cameras", type=int, nargs="*", default=(), help="measure these only, find no knee"
    )
    parser.add_argument("--most", type=int, default=64, help="cameras that are tried")
    parser.add_argument("--keypoints", metavar="NPZ", help="a recording; default: the demo video's")
    args = parser.parse_args()
    recording = load_recording(args.keypoints) if args.keypoints else demo_keypoints()
    print(f"one lifter, {machine()}, {load()}")
    print(
        f"{args.people} people in sight of each camera, {args.rate:g} Hz, {args.seconds:g} s each; "
        "the publishers and the listener run on the same machine"
    )
    print(
        "\n| cameras | offered/s | skeletons/s | p50 ms | p95 ms | coalesced % | missed % "
        "| lift ms | lifter, % of a core | publishers |\n" + "|---" * 10 + "|"
    )
    try:
        if not args.cameras:
            find_knee(recording, args)
        for cameras in args.cameras:
            print_row(measure(cameras, recording, args), args.rate)
    except GraphError as error:
        print(f"fleet: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
