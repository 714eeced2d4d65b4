"""`emf-ros convert`: a recording to files of other programs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from . import arguments
from .console import CommandError, raise_last, say


def run(args: argparse.Namespace) -> None:
    """Convert.

    Raises:
        CommandError: the recording cannot be read, or a format cannot hold it.
    """
    from ..batch.lifting import LiftSettings, write_outputs
    from ..io.bags import is_bag
    from ..io.formats.registry import check_output, read_recording
    from ..io.recordings import RecordingError

    try:
        if args.topic and not is_bag(args.source):
            raise CommandError(f"{args.source} is no bag: leave out --topic")
        for path in args.out:
            check_output(path, [args.source])
        suffix = Path(args.source).suffix.lower()
        if (args.joints or args.unit != "auto") and suffix != ".bvh":
            raise CommandError(f"{args.source} is no BVH: leave out --joints and --unit")
        if args.up != "auto" and suffix not in (".bvh", ".trc", ".c3d"):
            raise CommandError(f"{args.source} is no BVH, TRC or C3D: leave out --up")
        given = {"topic": args.topic, "joints": args.joints, "unit": args.unit, "up": args.up}
        options = {name: value for name, value in given.items() if value not in ("", None, "auto")}
        recording = read_recording(args.source, **options)
        for note in recording.notes:
            say(f"note: {args.source}: {note}")
        if args.person is not None:
            ids = sorted(set(recording.track_id.tolist()))
            if args.person not in ids:
                raise CommandError(
                    f"{args.source} has no person {args.person}; it has "
                    + (", ".join(map(str, ids)) or "nobody")
                )
            recording = recording.rows(recording.track_id == args.person)
        written, errors = write_outputs(recording, args.out, args.source, LiftSettings(), say)
        for path in written:
            print(path)
        raise_last(errors)
    except RecordingError as error:
        raise CommandError(str(error)) from None


def add_parser(commands: Any) -> None:
    """Add the command; `commands` is what `ArgumentParser.add_subparsers` returned."""
    convert = commands.add_parser(
        "convert",
        help="a recording to files of other programs",
        epilog="The formats: docs/reference/formats.md. A format that holds one person gets a file "
        "for each: NAME_personID.ENDING. "
        "Example: emf-ros convert skeletons.npz --out skeletons.bvh",
    )
    convert.add_argument("source", help=f"recording: {arguments.readable()}, or folder of a bag")
    arguments.add_outputs(convert, arguments.writable())
    convert.add_argument("--person", type=int, metavar="ID", help="only this person (all)")
    arguments.add_topic(convert, "skeletons or keypoints")
    arguments.add_skeleton(
        convert, " of a BVH of another program", " of a BVH, TRC or C3D of another program"
    )
    convert.set_defaults(run=run)
