"""The Python of the pages, run as it is printed, on images and keypoints of real people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from documentation import ROOT
from inputs import camera_yaml, write_clip
from recordings_of_people import two_people

from emf_ros import Camera, SkeletonTracker

#: Time between the images, s.
PERIOD_S = 1 / 30
#: The joints of COCO among those of BlazePose.
COCO_17 = [0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]


def blocks(page: str) -> list[str]:
    """The Python of a page."""
    text = (ROOT / "docs" / "use" / page).read_text("utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def only(page: str, word: str) -> str:
    """The block of a page with a word."""
    (found,) = (block for block in blocks(page) if word in block)
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which a block runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def tracker(demo_frames) -> Iterator[SkeletonTracker]:
    height, width = demo_frames[0].shape[:2]
    with SkeletonTracker(Camera.from_fov(width, height, 60), variant="lite") as made:
        yield made


def test_every_block_is_run() -> None:
    pages = {p.name: len(blocks(p.name)) for p in (ROOT / "docs" / "use").glob("*.md")}
    assert {n: c for n, c in pages.items() if c} == {
        "python.md": 3,
        "people.md": 1,
        "recordings.md": 1,
    }


def test_the_ten_lines_print_the_people_of_a_video(folder, demo_frames, capsys) -> None:
    write_clip(folder / "people.mp4", demo_frames[30:38])
    exec(only("python.md", "open_source"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 10
    assert all(re.match(r"\d+ (TRACKED|WARMING_UP|COASTING|ENDED) ", line) for line in lines)


def test_two_cameras_are_lifted_together(folder, demo_frames, capsys) -> None:
    height, width = demo_frames[0].shape[:2]
    (folder / "left.yaml").write_text(camera_yaml(width, height, 600.0))
    block = only("python.md", "together")
    first, later = block.split("\n", 1)
    names: dict[str, Any] = {"Camera": Camera, "SkeletonTracker": SkeletonTracker}
    exec(first, names)
    for number, image in enumerate(demo_frames[30:34]):
        names |= {"left_image": image, "right_image": image, "stamp": number * PERIOD_S}
        exec(later, names)
    names["tracker"].close()
    assert set(names["people"]) == {"left", "right"}
    assert names["people"]["left"]
    assert re.match(r"\d+ \[", capsys.readouterr().out)


def test_keypoints_of_any_program_are_lifted(tracker, demo_keypoints) -> None:
    names: dict[str, Any] = {"tracker": tracker}
    for number, people in enumerate(demo_keypoints[:3]):
        keypoints = np.array([keypoints[COCO_17] for _, keypoints, _ in people])
        exec(
            only("python.md", "from_keypoints"),
            names | {"keypoints": keypoints, "stamp": number * PERIOD_S},
            names,
        )
    assert len(names["people"]) == 2


def test_a_person_is_asked_what_it_does(tracker, demo_frames, capsys) -> None:
    for number, image in enumerate(demo_frames[30:36]):
        names = {"tracker": tracker, "image": image, "stamp": 10 + number * PERIOD_S}
        exec(only("people.md", "posture"), names)
    lines = [line for line in capsys.readouterr().out.splitlines() if "comes here" not in line]
    number = r"(nan|-?[\d.]+(e-\d+)?)"
    assert len(lines) >= 6
    for asked, gestures in zip(lines[::2], lines[1::2], strict=True):
        assert re.fullmatch(rf"\w* {number} {number}", asked)
        assert re.fullmatch(rf"\[.*\] {number}", gestures)


def test_a_recording_is_read_with_numpy(folder, capsys) -> None:
    two_people(0.0).save(folder / "skeletons.npz")
    exec(only("recordings.md", "np.load"), {})
    stamps, roots = capsys.readouterr().out.split("[[")
    assert stamps.count(".") > 3 and "[" in roots
