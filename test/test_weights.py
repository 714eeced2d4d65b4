"""BlazePose's weights: the cache, its checks, and the errors when a file is not available.

No network is used. The files come from the user's cache, which the set-up has filled, and the index
of pip and npm does not exist.
"""

import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from emf_ros.detect.mediapipe_bundle import ensure_pose_task
from emf_ros.detect.weights import available_variants, ensure_tflite
from emf_ros.downloads.cache import DownloadError
from emf_ros.downloads.videos import ensure_demo_video, ensure_four_cameras
from emf_ros.io.paths import cache_folder

FILLED = cache_folder()
MEMBERS = ["pose_detector.tflite", "pose_landmarks_detector.tflite"]
NOWHERE = "http://127.0.0.1:9/"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A copy of the user's cache for one test, without a package index."""
    if not (FILLED / "blazepose" / "pose_landmarker_full.task").exists():
        pytest.skip(f"{FILLED} holds no weights: run make env first")
    folder = tmp_path / "cache"
    kept = ("pose_detection.tflite", "pose_landmark_full.tflite", "pose_landmarker_full.*")
    for pattern in kept:
        for file in (FILLED / "blazepose").glob(pattern):
            (folder / "blazepose").mkdir(parents=True, exist_ok=True)
            shutil.copy(file, folder / "blazepose")
    monkeypatch.setenv("EMF_ROS_CACHE", str(folder))
    unreachable(monkeypatch)
    return folder / "blazepose"


def unreachable(monkeypatch):
    for name, value in {
        "PIP_NO_INDEX": "1",
        "PIP_INDEX_URL": NOWHERE,
        "PIP_NO_CACHE_DIR": "1",
        "npm_config_registry": NOWHERE,
        "npm_config_fetch_retries": "0",
        "npm_config_offline": "true",
        "npm_config_cache": "/nonexistent/npm",
    }.items():
        monkeypatch.setenv(name, value)


def spoil(path: Path) -> None:
    """Change one byte in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def test_a_filled_cache_needs_no_index(cache):
    assert ensure_pose_task("full") == cache / "pose_landmarker_full.task"
    assert ensure_tflite("pose_detection.tflite").parent == cache


def test_a_damaged_network_is_fetched_again(cache):
    sound = (cache / "pose_detection.tflite").read_bytes()
    spoil(cache / "pose_landmark_full.tflite")
    with pytest.raises(DownloadError) as raised:
        ensure_tflite("pose_landmark_full.tflite")
    text = str(raised.value)
    assert "Could not download mediapipe==0.10.21" in text
    assert "proxy or mirror" in text and str(cache.parent) in text and "pip said:" in text
    # The undamaged network stays, and there are no temporary files.
    assert (cache / "pose_detection.tflite").read_bytes() == sound
    assert not list(cache.glob(".*"))


def test_a_damaged_bundle_is_rebuilt_from_the_networks(cache):
    (cache / "pose_landmarker_full.task").unlink()
    built = ensure_pose_task("full").read_bytes()
    spoil(cache / "pose_landmarker_full.task")
    assert ensure_pose_task("full").read_bytes() == built


@pytest.mark.parametrize("text", ['{"recipe": 0}', "no json", ""])
def test_a_bundle_with_a_wrong_build_record_is_rebuilt(cache, text):
    task, note = cache / "pose_landmarker_full.task", cache / "pose_landmarker_full.json"
    note.write_text(text)
    before = task.stat().st_ino
    ensure_pose_task("full")
    assert task.stat().st_ino != before
    assert json.loads(note.read_text())["recipe"] >= 1
    after = task.stat().st_ino
    ensure_pose_task("full")
    assert task.stat().st_ino == after


def test_a_bundle_is_a_stored_zip_of_aligned_networks(cache):
    (cache / "pose_landmarker_full.task").unlink()
    with zipfile.ZipFile(ensure_pose_task("full")) as bundle:
        members = bundle.infolist()
        assert [m.filename for m in members] == MEMBERS
        for member in members:
            assert member.compress_type == zipfile.ZIP_STORED
            start = member.header_offset + 30 + len(member.filename) + len(member.extra)
            assert start % 16 == 0
            assert bundle.read(member)[4:8] == b"TFL3"


def test_bundle_metadata_has_the_normalisation_of_the_input(cache):
    schema = pytest.importorskip("mediapipe.tasks.metadata.schema_py_generated")
    meta = pytest.importorskip("mediapipe.tasks.metadata.metadata_schema_py_generated")
    found = []
    with zipfile.ZipFile(ensure_pose_task("full")) as bundle:
        for name in MEMBERS:
            model = schema.ModelT.InitFromPackedBuf(bundle.read(name), 0)
            entry = next(e for e in model.metadata if e.name == b"TFLITE_METADATA")
            described = meta.ModelMetadataT.InitFromPackedBuf(
                bytes(model.buffers[entry.buffer].data), 0
            )
            tensor = described.subgraphMetadata[0].inputTensorMetadata[0]
            options = tensor.processUnits[0].options
            found.append((float(options.mean[0]), float(options.std[0])))
    assert found == [(127.5, 127.5), (0.0, 255.0)]


def test_error_of_an_unknown_variant_lists_the_variants(cache):
    with pytest.raises(DownloadError, match="no variant 'huge'.*full"):
        ensure_pose_task("huge")


def test_error_of_an_unknown_network_lists_the_networks(cache):
    with pytest.raises(DownloadError, match="pose_detection.tflite.*pose_landmark_heavy.tflite"):
        ensure_tflite("../../etc/passwd")


@pytest.mark.parametrize("variant", ["lite", "heavy"])
def test_error_without_npm_says_what_to_install(cache, monkeypatch, variant):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(DownloadError) as raised:
        ensure_pose_task(variant)
    text = str(raised.value)
    assert "apt install npm" in text and "'full'" in text
    assert f"pose_landmarker_{variant}.task" in text and str(cache) in text


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_unreachable_npm_index_has_another_error_than_a_missing_npm(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    with pytest.raises(DownloadError) as raised:
        ensure_pose_task("lite")
    text = str(raised.value)
    assert "npm config list" in text and "apt install" not in text and "'full'" in text


def test_available_variants_are_those_in_the_cache_or_from_pip(cache, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert available_variants() == ("full",)
    (cache / "pose_landmark_heavy.tflite").write_bytes(b"")
    assert available_variants() == ("full", "heavy")


def test_a_users_own_bundle_is_used_as_it_is(cache, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    own = cache / "pose_landmarker_lite.task"
    shutil.copy(cache / "pose_landmarker_full.task", own)
    before = own.read_bytes()
    assert ensure_pose_task("lite") == own and own.read_bytes() == before


def test_a_users_own_bundle_that_is_damaged_is_not_used(cache, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    own = cache / "pose_landmarker_lite.task"
    shutil.copy(cache / "pose_landmarker_full.task", own)
    spoil(own)
    with pytest.raises(DownloadError):
        ensure_pose_task("lite")


def test_error_of_a_read_only_cache_names_the_variable_to_set(tmp_path, monkeypatch, cache):
    (cache / "pose_landmarker_full.task").unlink()
    (cache / "pose_landmarker_full.json").unlink()
    cache.chmod(0o500)
    if os.access(cache, os.W_OK):  # root writes everywhere
        cache.chmod(0o700)
        (cache / "pose_landmarker_full.json").mkdir()
    try:
        with pytest.raises(DownloadError, match="Could not write .*\n.*EMF_ROS_CACHE"):
            ensure_pose_task("full")
    finally:
        cache.chmod(0o700)


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"EMF_ROS_CACHE": "/a/b", "XDG_CACHE_HOME": "/c"}, "/a/b"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/emf_ros"),
        ({"HOME": "/h"}, "/h/.cache/emf_ros"),
    ],
)
def test_the_cache_folder_follows_the_environment(monkeypatch, variables, folder):
    for name in ("EMF_ROS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(folder)


def test_error_of_a_missing_demo_video_names_the_package(cache):
    with pytest.raises(DownloadError, match="sports2d==0.8.34"):
        ensure_demo_video()


def test_error_of_missing_camera_videos_names_the_package(cache):
    with pytest.raises(DownloadError, match="pose2sim==0.10.49"):
        ensure_four_cameras()
