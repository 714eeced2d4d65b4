"""`emf-ros render`: a recording and its video to one mp4."""

from __future__ import annotations

import argparse
from typing import Any

from ..io.outputs import check_file
from . import arguments
from .console import CommandError, say
from .video import add_rate


def run(args: argparse.Namespace) -> None:
    """Render.

    Raises:
        CommandError: an input cannot be used, or the video cannot be written.
    """
    from ..batch.lifting import LiftSettings, render_source
    from ..io.formats.registry import read_recording
    from ..io.frame_source import VideoError
    from ..io.recordings import RecordingError
    from ..io.render.video import RenderError

    check_file(args.out, (args.recording, args.video), ".mp4")
    try:
        recording = read_recording(args.recording)
        for note in recording.notes:
            say(f"note: {args.recording}: {note}")
        settings = LiftSettings(rate_hz=args.rate, topic=args.topic)
        sentences = render_source(recording, args.video, settings, args.out, say)
    except (RecordingError, VideoError, RenderError) as error:
        raise CommandError(str(error)) from None
    for sentence in sentences:
        say(sentence)
    print(args.out)


def add_parser(commands: Any) -> None:
    """Add the command; `commands` is what `ArgumentParser.add_subparsers` returned."""
    render = commands.add_parser(
        "render",
        help="a recording and its video to one mp4",
        epilog="Example: emf-ros render skeletons.npz video.mp4 --out skeletons.mp4",
    )
    render.add_argument("recording", help=f"of emf-ros lift: {arguments.readable()}")
    render.add_argument("video", help="video file, folder of images or bag that was lifted")
    add_rate(render)
    arguments.add_topic(render, "images")
    render.add_argument(
        "--out", required=True, metavar="FILE.mp4", help="file to write, in a folder that exists"
    )
    render.set_defaults(run=run)
