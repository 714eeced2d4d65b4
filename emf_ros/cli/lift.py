"""`emf-ros lift`: a video, a bag or recorded keypoints to files with 3D skeletons."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from . import arguments
from .console import CommandError, Interrupted, say
from .interrupt import StopRequest, stop_request
from .video import add_video

if TYPE_CHECKING:
    from ..batch.lifting import LiftSettings
    from ..lift.engine import Engine


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
    from ..batch.lifting import check_outputs, lift_source, write_outputs
    from ..geometry.camera import CameraError
    from ..io.bags import BagError
    from ..io.frame_source import VideoError
    from ..io.recordings import RecordingError
    from ..io.render.video import RenderError
    from ..lift.engine import EngineError

    settings = settings_of(args)

    def engine() -> Engine:
        made = settings.engine()
        say(f"lifting with {made.description}")
        return made

    try:
        check_outputs(args.out, [args.source, args.weights, args.camera_info, args.model or None])
        with stop_request("frame") as request:
            stop = _Stop(request)
            lifted = lift_source(args.source, settings, engine, say, stopping=stop)
        for reason, number in sorted(lifted.counts.items()):
            say(f"{reason}: {number}")
        # They come last, since the progress would hide them.
        for sentence in lifted.sentences:
            say(sentence)
        names = ", ".join(args.out)
        if stop.at == 0:
            raise Interrupted(f"interrupted: nothing was written to {names}", request.signal)
        recording = lifted.recording
        written = write_outputs(recording, args.out, args.source, settings, say)
    except (
        BagError,
        CameraError,
        EngineError,
        RecordingError,
        RenderError,
        VideoError,
    ) as error:
        raise CommandError(str(error)) from None
    if stop.at is not None:
        frames = f"{stop.at} of {lifted.total}" if lifted.total else str(stop.at)
        raise Interrupted(f"interrupted: {frames} frames are in {names}", request.signal)
    people = len(set(recording.track_id.tolist()))
    for path in written:
        print(f"{path}: {len(recording)} poses of {people} people")


def settings_of(args: argparse.Namespace) -> LiftSettings:
    """The settings that the options give."""
    from ..batch.lifting import LiftSettings

    return LiftSettings(
        preset=args.preset,
        weights=args.weights,
        device=args.device,
        detector=args.detector,
        variant=args.variant,
        model=args.model,
        people=args.people,
        lag=args.lag,
        rate_hz=args.rate,
        topic=args.topic,
        camera_info=args.camera_info,
        fov_deg=args.fov,
        rectified=args.rectified,
        body=args.body,
    )


def add_parser(commands: Any) -> None:
    """Add the command; `commands` is what `ArgumentParser.add_subparsers` returned."""
    lift = commands.add_parser("lift", help="a video, a bag or recorded keypoints to 3D skeletons")
    lift.add_argument(
        "source",
        help="video file, folder of images, bag of ROS 2, webcam's number, or recorded 2D "
        f"keypoints ({arguments.readable()})",
    )
    add_video(lift)
    arguments.add_topic(lift, "images, or of the keypoints,")
    lift.add_argument(
        "--detector",
        default="blazepose",
        choices=("blazepose", "mediapipe", "onnx"),
        help="the 2D detector (blazepose)",
    )
    arguments.add_variant(lift)
    lift.add_argument("--model", default="", metavar="FILE", help=".onnx file of --detector onnx")
    arguments.add_weights(lift)
    arguments.add_device(lift)
    arguments.add_lag(lift)
    lift.add_argument(
        "--people",
        type=arguments.count_of_people,
        default=8,
        help="maximum number of people, 1 to 256 (8)",
    )
    lift.add_argument(
        "--body",
        action="store_true",
        help="also record facing, posture, gestures, orientations and angles",
    )
    arguments.add_outputs(lift, f"{arguments.writable()}, or .mp4 for a video with both views")
    lift.set_defaults(run=run)
