"""`emf-ros view`: a recording in a web browser, in 3D."""

from __future__ import annotations

import argparse
import contextlib
import webbrowser
from typing import Any

from . import arguments
from .console import CommandError, say
from .video import add_rate, open_video

#: The port that is tried first.
DEFAULT_PORT = 8080


def run(args: argparse.Namespace) -> None:
    """Serve the recording until a signal ends the command.

    Raises:
        CommandError: an input cannot be used, or the viewer cannot start.
    """
    from ..io.formats.registry import read_recording
    from ..io.frame_source import VideoError
    from ..io.recordings import RecordingError
    from ..viewer.playback import Playback
    from ..viewer.server import ViewerError
    from ..viewer.viewer import Viewer

    try:
        recording = read_recording(args.recording)
        if len(recording) == 0:
            raise CommandError(f"{args.recording}: there are no people in it")
        for note in recording.notes:
            say(f"note: {args.recording}: {note}")
        if args.video:
            open_video(args.video, args).close()
        viewer = Viewer(args.host, args.port)
    except (RecordingError, VideoError, ViewerError) as error:
        raise CommandError(str(error)) from None
    try:
        if args.port not in (0, viewer.port):
            say(f"port {args.port} is taken: the viewer has port {viewer.port}")
        open_again = (lambda: open_video(args.video, args, _be_quiet)) if args.video else None
        playback = Playback(viewer, recording, open_again)
        if playback.video_fault:
            raise CommandError(f"{args.video}: {playback.video_fault}")
        print(f"{viewer.address} shows {args.recording}; Ctrl-C ends it", flush=True)
        if args.open:
            webbrowser.open(viewer.address)
        with contextlib.suppress(KeyboardInterrupt):
            playback.run(lambda: False)
    except VideoError as error:
        raise CommandError(f"{args.video}: {error}") from None
    finally:
        viewer.close()


def _be_quiet(sentence: str) -> None:
    """The user has read it."""


def add_parser(commands: Any) -> None:
    """Add the command; `commands` is what `ArgumentParser.add_subparsers` returned."""
    view = commands.add_parser(
        "view",
        help="a recording in a web browser, in 3D",
        epilog="Example: emf-ros view skeletons.npz --video video.mp4 --open",
    )
    view.add_argument("recording", help=f"of emf-ros lift: {arguments.readable()}")
    view.add_argument("--video", help="the video file, bag or folder of images that was lifted")
    add_rate(view)
    arguments.add_topic(view, "images")
    view.add_argument(
        "--port",
        type=arguments.whole_number(0, 65535),
        default=DEFAULT_PORT,
        help=f"first port to try ({DEFAULT_PORT}); 0: any free one",
    )
    view.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (127.0.0.1: this computer only; 0.0.0.0: the network, without "
        "a password)",
    )
    view.add_argument("--open", action="store_true", help="open a browser")
    view.set_defaults(run=run)
