"""The files of docker/: all wheels are pinned, and the files that they copy exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WHEELS = sorted((ROOT / "docker").glob("*.txt"))


@pytest.mark.parametrize("path", WHEELS, ids=lambda path: path.name)
def test_wheels_are_pinned_and_leave_the_numpy_of_the_system(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if line and line[0] != "#"]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    names = [line.split("==")[0] for line in lines]
    assert sum(name in ("onnxruntime", "onnxruntime-gpu") for name in names) == 1
    assert not any("opencv" in name for name in names)
    # Only Ubuntu 22.04 has a numpy that is too old for its onnxruntime.
    assert ("numpy" in names) == (path.name == "jetpack6.txt")


@pytest.mark.parametrize("name", ["Dockerfile", "jetpack6.Dockerfile"])
def test_images_have_a_version_and_copy_files_that_exist(name: str) -> None:
    text = (ROOT / "docker" / name).read_text()
    defaults = dict(re.findall(r"^ARG (\w+)=(.*)$", text, re.MULTILINE))
    for argument, value in defaults.items():
        text = text.replace("${" + argument + "}", value)
    (base,) = re.findall(r"^FROM (\S+)$", text, re.MULTILINE)
    assert ":" in base and "latest" not in base
    copied = re.findall(r"^COPY (docker/\S+) ", text, re.MULTILINE)
    assert len(copied) == 2 and all((ROOT / path).is_file() for path in copied)
    page = (ROOT / "docs" / "use" / "jetson.md").read_text()
    assert base in page and f"docker/{name}" in page
