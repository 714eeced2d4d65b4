"""`emf-ros calibrate`: the intrinsics of a camera, from a board or from people who walk about."""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..io.outputs import check_file
from . import arguments
from .console import CommandError, say
from .interrupt import stop_request
from .video import add_rate, open_video

if TYPE_CHECKING:
    from ..calibrate.board import Board
    from ..geometry.camera import Camera

#: Range of the height of people, m.
_HEIGHTS_M = (0.5, 2.5)

#: Models of `calibrate.solve.MODELS`, here so that the command starts without OpenCV.
MODELS = ("plumb_bob", "rational_polynomial")


def board_size(text: str) -> tuple[int, int]:
    """The type of --board: COLUMNSxROWS."""
    found = re.fullmatch(r"(\d{1,3})x(\d{1,3})", text.lower())
    if not found:
        raise argparse.ArgumentTypeError(f"must be COLUMNSxROWS, such as 9x6, not {text!r}")
    return int(found[1]), int(found[2])


def run(args: argparse.Namespace) -> None:
    """Calibrate and write the file.

    Raises:
        CommandError: the images do not give the intrinsics.
    """
    if (args.board is None) == (args.from_people is None):
        raise CommandError("give either --board COLUMNSxROWS or --from-people HEIGHT")
    check_file(args.out, (args.source,), ".yaml")
    from ..calibrate.solve import CalibrationError
    from ..io.calibration.writer import write_camera
    from ..io.frame_source import VideoError

    try:
        camera, comments = _from_board(args) if args.board else _from_people(args)
    except (CalibrationError, VideoError) as error:
        raise CommandError(str(error)) from None
    name = args.name or re.sub(r"\W", "_", Path(args.out).stem)
    write_camera(args.out, camera, name, comments)
    for comment in comments:
        print(comment)
    doubts = camera.doubts()
    if doubts:
        say(doubts)
    print(f"wrote {args.out}: give it to the camera's driver, or as --camera-info {args.out}")


def _from_board(args: argparse.Namespace) -> tuple[Camera, tuple[str, ...]]:
    from ..calibrate.collect import collect
    from ..calibrate.solve import solve
    from ..io.bags import is_bag
    from ..io.video import losses

    board = _board(args)
    source = open_video(args.source, args)
    # A bag may be a folder, too.
    every_frame = Path(args.source).is_dir() and not is_bag(args.source)
    with stop_request("frame") as request:
        if source.live:
            say("hold the board before the camera; Ctrl-C ends the collection")
        views = collect(source, board, every_frame, say, args.preview, request)
    for sentence in losses(source):
        say(sentence)
    found = solve(views, args.model)
    for frame in found.left_out:
        say(f"{frame} was left out: its reprojection error is far over the others'")
    for hint in views.hints():
        say(f"for a better calibration: {hint}")
    focal = found.camera.matrix[0, 0]
    return found.camera, (
        f"reprojection error {found.rms_px:.3f} px in {len(views.found) - len(found.left_out)} "
        f"views; focal length {focal:.1f} +- {found.focal_stddev_px:.1f} px",
    )


def _board(args: argparse.Namespace) -> Board:
    from ..calibrate.board import BoardError, CharucoBoard, Checkerboard

    columns, rows = args.board
    try:
        if args.charuco:
            return CharucoBoard(columns, rows, args.charuco, args.marker_ratio)
        return Checkerboard(columns, rows)
    except BoardError as error:
        raise CommandError(str(error)) from None


def _from_people(args: argparse.Namespace) -> tuple[Camera, tuple[str, ...]]:
    import numpy as np

    from ..calibrate.people import estimate, walkers
    from ..geometry.camera import CameraError
    from ..io.recordings import RecordingError, load_recording
    from ..io.video import losses

    try:
        if Path(args.source).suffix.lower() == ".npz":
            recording = load_recording(args.source)
            layout, size = recording.layout, recording.image_size
            keypoints, stamps, ids = recording.keypoints_2d, recording.stamp, recording.track_id
            pixel_aspect = 1.0
        else:
            from ..calibrate.detected import detected_keypoints

            source = open_video(args.source, args)
            if source.live:
                raise CommandError("--from-people takes a video or an npz: record the webcam first")
            size, pixel_aspect = source.size, source.pixel_aspect
            with stop_request("frame") as request:
                layout, keypoints, stamps, ids = detected_keypoints(source, args.people, request)
            for sentence in losses(source):
                say(sentence)
    except (CameraError, RecordingError) as error:
        raise CommandError(str(error)) from None
    people = walkers(np.asarray(keypoints), np.asarray(stamps), np.asarray(ids), layout)
    found = estimate(people, size, args.from_people, pixel_aspect)
    focal, ground = found.camera.matrix[0, 0], found.ground
    fov_deg = math.degrees(2 * math.atan(size[0] / 2 / focal))
    return found.camera, (
        f"estimated from people: focal length {focal:.0f} px +- {100 * found.doubt:.0f} %, "
        f"field of view {fov_deg:.0f} degrees; distances have the same doubt",
        # In the form of a parameters file: the lifter has one value for each camera.
        f"camera_height_m: [{ground.height_m:.2f}], camera_pitch_deg: "
        f"[{math.degrees(ground.pitch_rad):.1f}], camera_roll_deg: "
        f"[{math.degrees(ground.roll_rad):.1f}]",
    )


def add_parser(commands: Any) -> None:
    """Add the command; `commands` is what `ArgumentParser.add_subparsers` returned."""
    calibrate = commands.add_parser(
        "calibrate",
        help="intrinsics from pictures of a board, or from people who walk about",
        description="Writes a file as ROS's camera_calibration does. The sizes of squares and "
        "markers do not matter to the intrinsics.",
        epilog="Example: emf-ros calibrate 0 --board 9x6 --preview --out front.yaml",
    )
    calibrate.add_argument("source", help="video file, folder of images, bag, or webcam's number")
    add_rate(calibrate)
    arguments.add_topic(calibrate, "images")
    calibrate.add_argument(
        "--board",
        type=board_size,
        metavar="COLUMNSxROWS",
        help="inner corners of a checkerboard, as in ROS; of ChArUco the squares",
    )
    calibrate.add_argument(
        "--charuco", metavar="DICT", help="the board is ChArUco with these markers: DICT_5X5_100"
    )
    calibrate.add_argument(
        "--marker-ratio",
        type=arguments.number(0.0, 1.0, above=True),
        default=0.75,
        metavar="RATIO",
        help="side of a ChArUco marker over the side of a square (0.75)",
    )
    calibrate.add_argument(
        "--model", choices=MODELS, default="plumb_bob", help="model of the distortion (plumb_bob)"
    )
    calibrate.add_argument(
        "--preview", action="store_true", help="show the corners and what is missing in a window"
    )
    calibrate.add_argument(
        "--from-people",
        type=arguments.number(*_HEIGHTS_M),
        metavar="HEIGHT",
        help="no board: estimate the focal length from upright people of this height, m; the "
        "source may also be an npz of keypoints",
    )
    calibrate.add_argument(
        "--people", type=arguments.count_of_people, default=2, help="maximum number of people (2)"
    )
    calibrate.add_argument("--name", help="name of the camera (that of the file)")
    calibrate.add_argument("--out", required=True, metavar="FILE.yaml", help="file to write")
    calibrate.set_defaults(run=run)
