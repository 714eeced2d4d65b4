"""`emf-ros render`: a recording and its video to one mp4."""

from __future__ import annotations

import argparse
from typing import Any

from ..io.outputs import check_file
from .console import CommandError, say
from .video import add_rate, open_video


def run(args: argparse.Namespace) -> None:
    """Render.

    Raises:
        CommandError: an input cannot be used, or the video cannot be written.
    """
    from ..io.frame_source import VideoError
    from ..io.progress import track
    from ..io.recordings import RecordingError, load_recording
    from ..io.render.video import RenderError, playback_rate_hz, render_recording
    from ..io.video import IMAGE_SUFFIXES, frames_of, losses

    check_file(args.out, (args.recording, args.video), ".mp4", IMAGE_SUFFIXES)
    try:
        recording = load_recording(args.recording)
        source = open_video(args.video, args)
        shown = track(frames_of(source), "rendering", source.count or None)
        frames = ((stamp, image) for _, stamp, image in shown)
        render_recording(recording, frames, args.out, playback_rate_hz(source))
    except (RecordingError, VideoError, RenderError) as error:
        raise CommandError(str(error)) from None
    for sentence in losses(source):
        say(sentence)
    print(args.out)


def add_parser(commands: Any) -> None:
    """Add the command; `commands` is what `ArgumentParser.add_subparsers` returned."""
    render = commands.add_parser("render", help="a recording and its video to one mp4")
    render.add_argument("recording", help="npz that emf-ros lift wrote")
    render.add_argument("video", help="video file or folder of images that was lifted")
    add_rate(render)
    render.add_argument(
        "--out", required=True, metavar="FILE.mp4", help="in a folder that exists; no input"
    )
    render.set_defaults(run=run)
