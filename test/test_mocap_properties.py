"""Lying motion files: small ones that would fill the memory or take for ever are refused."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import damage, read_or_refused
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import grown_mb
from mocap_samples import acclaim_motion, clip_of, person, write_acclaim
from test_mocap_files import FRAMES, TEXT

from emf_ros.io.mocap import FormatError, skeleton
from emf_ros.io.mocap.bvh import read_bvh
from emf_ros.train.formats.acclaim import read_amc
from emf_ros.train.formats.archive import Archive, read_archive, write_archive

#: Fewer examples of what computes poses.
FEWER = settings(max_examples=settings.default.max_examples // 4)

#: Maximum memory that refusing a small file may take, MB.
MAX_MB = 300


def refused(read: Any, path: Path, why: str) -> None:
    with grown_mb() as grown, pytest.raises(FormatError, match=why) as refusal:
        read(path)
    assert grown() < MAX_MB and len(str(refusal.value)) < 2000


def bvh(folder: Path, hierarchy: str, motion: str) -> Path:
    path = folder / "in.bvh"
    path.write_text(f"HIERARCHY\nROOT Hips\n{{\n{hierarchy}\n}}\nMOTION\n{motion}")
    return path


JOINT = "JOINT j {{ OFFSET 0 0 0 CHANNELS {} {} }}\n"


@pytest.mark.parametrize(
    ("hierarchy", "frames", "why"),
    [
        (JOINT.format(0, "") * 1001, 2, "over 1000 joints"),
        ("End Site { OFFSET 0 0 0 " * 900 + "}" * 900, 2, "name is over 200 characters"),
        (JOINT.format(999, "Xrotation " * 999), 2, "are 999, over 12"),
        (f"{JOINT.format(1, 'Xrotation')}" + JOINT.format(0, "") * 990, 31_000, "split it"),
        ("x" * 300_000, 2, "where a HIERARCHY cannot have it"),
    ],
    ids=["joints", "names", "channels", "frames", "word"],
)
def test_a_small_bvh_that_stands_for_very_much_is_refused(
    hierarchy: str, frames: int, why: str, tmp_path: Path
) -> None:
    motion = f"Frames: {frames}\nFrame Time: 0.0333\n" + "1\n" * frames
    head = "OFFSET 0 0 0 CHANNELS 0\n"
    refused(read_bvh, bvh(tmp_path, head + hierarchy, motion), why)


def test_a_bvh_on_one_line_is_read_in_one_pass(tmp_path: Path) -> None:
    """Not in a time that grows with the square of its length."""
    joints = JOINT.format(0, "").replace("\n", " ") * 900
    motion = "Frames: 2\nFrame Time: 0.0333\n1 2 3\n2 3 4\n"
    head = "OFFSET 0 0 0 CHANNELS 3 Xrotation Yrotation Zrotation " + joints
    path = bvh(tmp_path, head, motion)
    assert len(read_bvh(path).names) == 901


def test_a_small_amc_that_stands_for_very_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_acclaim(tmp_path / "07", *acclaim_motion(FRAMES))
    monkeypatch.setattr(skeleton, "MAX_POSES", 10_000)
    # Frames without a bone are unknown there, and cost a line of two characters.
    path.write_text(
        path.read_text() + "".join(f"{number}\n" for number in range(10**6, 10**6 + 999))
    )
    refused(read_amc, path, "split it")


def test_clips_of_an_archive_that_overlap_without_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.npz"
    write_archive(path, Archive([clip_of(person(30))], 30.0, "CC0"))
    arrays = dict(np.load(path))
    count = 400_000
    names = {
        name: np.repeat(arrays[name], count) for name in ("clip", "subject", "action", "source")
    }
    np.savez(
        path,
        **{
            **arrays,
            **names,
            "starts": np.zeros(count, np.int64),
            "lengths": np.full(count, 30, np.int64),
        },
    )
    refused(read_archive, path, "overlap in 30 frames")
    one = {"starts": np.array([2**62]), "lengths": np.array([2**62])}
    np.savez(path, **{**arrays, **one})
    refused(read_archive, path, "outside of its 30 frames")


@functools.cache
def acclaim() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = write_acclaim(Path(folder) / "07", *acclaim_motion(FRAMES))
        return {".amc": path.read_bytes(), ".asf": path.with_name("07.asf").read_bytes()}


@FEWER
@given(st.data(), st.sampled_from([".bvh", ".amc", ".asf"]))
def test_a_damaged_motion_file_is_read_or_refused_in_one_line(data: Any, suffix: str) -> None:
    files = {".bvh": TEXT.encode(), **acclaim()}
    files[suffix] = data.draw(damage(files[suffix]))

    def read(path: Path) -> Any:
        for name, content in files.items():
            path.with_suffix(name).write_bytes(content)
        try:
            if suffix == ".bvh":
                return read_bvh(path)
            return read_amc(path.with_suffix(".amc"), path.with_suffix(".asf"))
        except FormatError as error:
            # The importer puts the name of the file in front.
            raise FormatError(f"in: {error}") from None

    with grown_mb() as grown:
        read_or_refused(read, b"", FormatError, "in.txt")
    assert grown() < MAX_MB
