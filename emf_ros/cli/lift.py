"""`emf-ros lift`: a video, or recorded keypoints, to a recording with 3D skeletons."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..io.outputs import check_file
from . import arguments
from .console import CommandError, Interrupted, say
from .interrupt import StopRequest, stop_request
from .video import add_video, camera_of, open_video

if TYPE_CHECKING:
    from ..io.recordings import Recording
    from ..lift.engine import Engine
    from ..reasons import Reason


class _Stop:
    """Asked before each frame; remembers where lifting stopped.

    Attributes:
        at: number of frames lifted before the stop; None while there was no stop.
    """

    def __init__(self, request: StopRequest) -> None:
        self._request = request
        self.at: int | None = None

    def __call__(self, done: int) -> bool:
        stop = self._request()
        if stop:
            self.at = done
        return stop


def run(args: argparse.Namespace) -> None:
    """Lift and save.

    Raises:
        CommandError: an input cannot be used.
        Interrupted: a signal ended it; the recording holds what was lifted before.
    """
    from ..geometry.camera import CameraError
    from ..io.frame_source import VideoError
    from ..io.recordings import RecordingError
    from ..io.video import IMAGE_SUFFIXES
    from ..lift.engine import EngineError

    check_file(args.out, (args.source, args.weights, args.camera_info), ".npz", IMAGE_SUFFIXES)
    lift = _lift_keypoints if Path(args.source).suffix.lower() == ".npz" else _lift_video
    try:
        recording, total, stop, signal_number = lift(args)
    except (CameraError, EngineError, RecordingError, VideoError) as error:
        raise CommandError(str(error)) from None
    if stop.at == 0:
        raise Interrupted(f"interrupted: nothing was written to {args.out}", signal_number)
    recording.save(args.out)
    if stop.at is not None:
        frames = f"{stop.at} of {total}" if total else str(stop.at)
        raise Interrupted(f"interrupted: {frames} frames are in {args.out}", signal_number)
    people = len(set(recording.track_id.tolist()))
    print(f"{args.out}: {len(recording)} poses of {people} people")


def _lift_keypoints(args: argparse.Namespace) -> tuple[Recording, int, _Stop, int]:
    """Lift recorded keypoints.

    Returns:
        the recording, the number of frames, where it stopped, and the signal's number.
    """
    from ..io.recordings import load_recording
    from ..lift.offline import lift_recording

    keypoints = load_recording(args.source)
    if args.camera_info or args.fov is not None or args.rectified:
        keypoints.camera = camera_of(keypoints.image_size, 1.0, args)
    engine = _engine(args)
    with stop_request("frame") as request:
        stop = _Stop(request)
        recording, counts = lift_recording(keypoints, engine, args.lag, args.people, stopping=stop)
    _say_counts(counts)
    # Notes come last, since the progress would hide them.
    for note in keypoints.notes:
        say(f"note: {args.source}: {note}")
    return recording, len(set(keypoints.stamp.tolist())), stop, request.signal


def _lift_video(args: argparse.Namespace) -> tuple[Recording, int, _Stop, int]:
    """Detect, track and lift; returns as `_lift_keypoints`."""
    from ..io.video import losses
    from ..lift.offline import lift_video

    source = open_video(args.source, args)
    camera = camera_of(source.size, source.pixel_aspect, args)
    total = source.count
    engine = _engine(args)
    with stop_request("frame") as request:
        stop = _Stop(request)
        recording, counts = lift_video(
            source, camera, engine, args.lag, args.people, args.variant, stopping=stop
        )
    _say_counts(counts)
    for sentence in losses(source):
        say(sentence)
    return recording, total, stop, request.signal


def _engine(args: argparse.Namespace) -> Engine:
    from ..lift.engine import make_engine

    engine = make_engine(args.preset, args.weights, args.device)
    say(f"lifting with {engine.description}")
    return engine


def _say_counts(counts: Counter[Reason]) -> None:
    for reason, number in sorted(counts.items()):
        say(f"{reason}: {number}")


def add_parser(commands: Any) -> None:
    """Add the command; `commands` is what `ArgumentParser.add_subparsers` returned."""
    lift = commands.add_parser("lift", help="a video, or recorded keypoints, to 3D skeletons")
    lift.add_argument(
        "source", help="video file, folder of images, webcam's number, or npz of 2D keypoints"
    )
    add_video(lift)
    arguments.add_weights(lift)
    arguments.add_device(lift)
    arguments.add_lag(lift)
    lift.add_argument(
        "--people",
        type=arguments.count_of_people,
        default=2,
        help="maximum number of people, 1 to 256 (2)",
    )
    arguments.add_variant(lift)
    lift.add_argument(
        "--out", required=True, metavar="FILE.npz", help="in a folder that exists; no input"
    )
    lift.set_defaults(run=run)
