"""`emf-ros mocap import` and `emf-ros mocap show`: motion capture to train on."""

from __future__ import annotations

import argparse
import fnmatch
from pathlib import Path
from typing import Any

from ..io.mocap import FormatError
from ..io.outputs import check_file, check_folder
from . import arguments
from .arguments import positive_int, positive_number
from .console import say

#: Exit status of an import that refused some of the files and wrote the others.
SOME_REFUSED = 3


def run_import(args: argparse.Namespace) -> int:
    """Import files and folders into one npz.

    Returns:
        the exit status: 0, or `SOME_REFUSED`.

    Raises:
        FormatError: nothing could be imported.
        OutputError: the output cannot be written.
    """
    from ..train.formats.importer import SUFFIXES, ImportOptions, import_mocap

    options = ImportOptions(
        source=args.source,
        subject_pattern=args.subject_pattern,
        unit=args.unit,
        up=args.up,
        joints=args.joints,
        body_model=args.body_model,
        joint_regressor=args.joint_regressor,
        rate_hz=args.rate,
        licence=args.licence,
        note=args.note,
    )
    read = (*args.paths, args.joints, args.body_model, args.joint_regressor)
    check_file(args.out, read, ".npz", read_in_folders=SUFFIXES)
    paths = ", ".join(map(str, args.paths))
    say(f"importing {paths}; a folder of many files takes minutes")
    report = import_mocap(args.paths, args.out, options)
    for path, why in report.refused:
        say(f"refused {path}: {why}")
    for note in report.notes:
        say(f"note: {note}")
    print(
        f"{report.out}: {report.clips} clips, {report.minutes:.1f} minutes, "
        f"{len(report.subjects)} subjects, of {report.files} files; {len(report.refused)} "
        f"refused, {report.scraps} pieces too short"
    )
    return SOME_REFUSED if report.refused else 0


def run_show(args: argparse.Namespace) -> None:
    """Draw clips of an npz.

    Raises:
        FormatError: the file cannot be read, or no clip fits.
        OutputError: an image cannot be written.
    """
    from ..train.formats.archive import read_archive
    from ..train.formats.plot import plot_clips

    check_folder(args.out, (), (args.file,))
    try:
        archive = read_archive(args.file)
    except FormatError as error:
        raise FormatError(f"{args.file} {error}") from None
    fitting = [c for c in archive.clips if fnmatch.fnmatch(c.name, args.clip) and len(c.positions)]
    if not fitting:
        some = ", ".join(c.name for c in archive.clips[:10]) or "none"
        raise FormatError(f"{args.file} has no clip {args.clip!r}; its clips begin with {some}")
    for image in plot_clips(fitting[: args.limit], archive.rate_hz, args.out):
        print(image)
    left = len(fitting) - args.limit
    if left > 0:
        say(f"{left} more; see --limit and --clip")


def add_parser(commands: Any) -> None:
    """Add the commands; `commands` is what `ArgumentParser.add_subparsers` returned."""
    mocap = commands.add_parser("mocap", help="motion capture to train on: import it, draw it")
    actions = mocap.add_subparsers(dest="action", required=True)

    read = actions.add_parser(
        "import",
        help="BVH, ASF/AMC, AMASS or npz files to one npz",
        epilog="Example: emf-ros mocap import recordings --out mocap/mine.npz",
    )
    read.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files and folders")
    read.add_argument("--out", required=True, metavar="FILE.npz", help="file to write")
    read.add_argument("--source", default="", metavar="NAME", help="collection (the output's name)")
    read.add_argument(
        "--subject-pattern",
        default="",
        metavar="RE",
        help="regular expression; its group in a file's path is the subject (the folder's name)",
    )
    arguments.add_skeleton(read)
    read.add_argument(
        "--rate",
        type=positive_number,
        metavar="HZ",
        help="rate of AMC files (the file's, or 120)",
    )
    read.add_argument("--body-model", metavar="FILE.npz", help="SMPL, SMPL-H or SMPL-X, for AMASS")
    read.add_argument("--joint-regressor", metavar="FILE.npy", help="(17, V), vertices to h36m17")
    read.add_argument("--licence", default="", metavar="TEXT", help="stored with the data")
    read.add_argument("--note", default="", metavar="TEXT", help="stored with the data")
    read.set_defaults(run=run_import)

    show = actions.add_parser(
        "show",
        help="clips of an npz as images",
        epilog="Example: emf-ros mocap show mocap/mine.npz --out images",
    )
    show.add_argument("file", metavar="FILE.npz", help="of emf-ros mocap import")
    show.add_argument("--clip", default="*", metavar="PATTERN", help="names with * and ? (all)")
    show.add_argument(
        "--limit", type=positive_int, default=12, metavar="N", help="maximum number of images (12)"
    )
    show.add_argument("--out", required=True, metavar="DIR", help="folder of the images")
    show.set_defaults(run=run_show)
