"""Folders of sources: nothing is lost, nothing is done twice, whatever dies on the way."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from inputs import camera_yaml
from recordings_of_people import two_people
from test_recording import CAMERA, keypoints
from test_recording import write as write_keypoints

from emf_ros.batch import batch, workers
from emf_ros.batch.jobs import Job, do
from emf_ros.batch.lifting import LiftSettings
from emf_ros.batch.same_settings import check_same, write_settings
from emf_ros.batch.sources import find_sources
from emf_ros.body.columns import COLUMNS
from emf_ros.cli.main import main
from emf_ros.io.formats.registry import read_recording, write_recording
from emf_ros.io.frame_source import VideoError
from emf_ros.io.outputs import OutputError
from emf_ros.io.paths import share_folder
from emf_ros.io.recordings import load_recording
from emf_ros.reasons import Reason
from emf_ros.skeletons import H36M17

SETTINGS = LiftSettings(device="cpu")
#: Number of sources.
SOURCES = 4


@pytest.fixture
def sources(tmp_path: Path) -> list[str]:
    """Recorded keypoints: they are lifted without a detector."""
    folder = tmp_path / "in"
    folder.mkdir()
    return [str(write_keypoints(folder / f"{number}.npz")) for number in range(SOURCES)]


def lift(sources: list[str], folder: Path, *words: str) -> int:
    options = ["--device", "cpu", "--jobs", "2", "--out-folder", str(folder)]
    return main(["lift", *sources, *options, *words])


def lift_here(
    sources: list[str], folder: Path, *formats: str, settings: LiftSettings = SETTINGS
) -> batch.Report:
    """Lift in this process, which saves the time of starting others."""
    jobs = batch.plan(sources, str(folder), formats, settings)
    return batch.run(
        jobs, str(folder), settings, lambda due: (do(job, settings) for job in due), print
    )


def results(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of change of each result: both change when it is written again."""
    # Another process may be writing.
    done = [path for path in folder.glob("*.npz") if ".part" not in path.name]
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in done}


NAMES = {f"{number}.npz.npz" for number in range(SOURCES)}


# ------------------------------------------------------------------------------ sources


def test_folders_are_searched_for_videos_bags_and_images(tmp_path: Path) -> None:
    for name in ("a/walk.mp4", "a/b/run.MKV", "images/1.png", "images/2.png", "bag/metadata.yaml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name in ("a/notes.txt", ".hidden/x.mp4", "bag/0.mcap", "a/._walk.mp4"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "nothing").mkdir()
    found = find_sources([str(tmp_path)])
    assert set(found) == {"a/walk.mp4", "a/b/run.MKV", "images", "bag"}
    assert set(find_sources([str(tmp_path / "images")])) == {"images"}
    results = tmp_path / "a" / "b"
    assert set(find_sources([str(tmp_path)], str(results))) == {"a/walk.mp4", "images", "bag"}
    with pytest.raises(VideoError, match="they would be sources"):
        find_sources([str(results)], str(results))
    with pytest.raises(VideoError, match="same name"):
        find_sources([str(tmp_path / "a" / "walk.mp4"), str(tmp_path / "a")])
    with pytest.raises(VideoError, match="no video, bag or folder of images"):
        find_sources([str(tmp_path / "nothing")])
    with pytest.raises(VideoError, match="there is no file"):
        find_sources([str(tmp_path / "none.mp4")])


def touched(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_a_picture_beside_videos_hides_none_of_them(tmp_path: Path) -> None:
    touched(
        tmp_path, "a.mp4", "b.mov", "preview.jpg", "sub/c.mp4", "frames/1.png", "frames/d/e.mp4"
    )
    said: list[str] = []
    found = find_sources([str(tmp_path)], tell=said.append)
    assert set(found) == {"a.mp4", "b.mov", "sub/c.mp4", "frames", "frames/d/e.mp4"}
    assert said == [f"{tmp_path}: the images beside the videos are left out"]


def test_every_kind_of_source_is_found_in_folders(tmp_path: Path) -> None:
    names = {"run.db3", "x.mcap", "v.wmv", "cam.h264", "k.mjpeg", "y.3gp", "z.M4V"}
    touched(tmp_path, *names, "notes.txt")
    assert set(find_sources([str(tmp_path)])) == names


def test_links_to_folders_are_followed_once_and_never_in_a_circle(tmp_path: Path) -> None:
    touched(tmp_path, "top/a/b.mp4", "store/c.mp4")
    for name, target in {"inside": "top/a", "outside": "store", "circle": "top"}.items():
        (tmp_path / "top" / name).symlink_to(tmp_path / target)
    (tmp_path / "store" / "back").symlink_to(tmp_path / "top")
    assert set(find_sources([str(tmp_path / "top")])) == {"a/b.mp4", "outside/c.mp4"}
    # Links keep their own names: those of a store are hashes.
    link = tmp_path / "walk.mp4"
    link.symlink_to(tmp_path / "top" / "a" / "b.mp4")
    assert set(find_sources([str(link)])) == {"walk.mp4"}
    (tmp_path / "top" / "a" / "1.png").touch()
    (tmp_path / "top" / "a" / "b.mp4").unlink()
    assert set(find_sources([str(tmp_path / "top" / "inside")])) == {"inside"}
    assert set(find_sources([f"{tmp_path}/top/inside/../a/.."])) == {"a", "outside/c.mp4"}


# ------------------------------------------------------------------------------ resuming


def test_an_interrupted_batch_goes_on_where_it_stopped(sources, tmp_path, capfd) -> None:
    out = tmp_path / "out"
    jobs = batch.plan(sources, str(out), (), SETTINGS)
    done: list[str] = []

    def runner(due: list[Job]) -> Iterator:
        return workers.outcomes(due, SETTINGS, 1)

    report = batch.run(jobs, str(out), SETTINGS, runner, done.append, lambda: len(done) >= 2)
    assert report.done == 2 and report.left == SOURCES - 2
    before = results(out)
    assert len(before) in (2, 3)
    assert lift(sources, out) == 0
    after = results(out)
    assert set(after) == NAMES
    assert {name: after[name] for name in before} == before
    assert capfd.readouterr().out.count(" poses of ") == SOURCES - len(before)
    # All is done: nothing is left to do, and nothing changes.
    assert lift_here(sources, out).before == SOURCES
    assert results(out) == after
    assert not list(out.glob("*.part*"))


def test_what_a_killed_process_left_counts_as_not_done(sources, tmp_path) -> None:
    out = tmp_path / "out"
    lift_here(sources[:1], out)
    (whole,) = out.glob("*.npz")
    # No process has this number.
    part = out / "1.npz.4194400.part.npz"
    part.write_bytes(whole.read_bytes()[:100])
    assert lift_here(sources[:2], out).before == 1
    assert not part.exists()
    assert len(load_recording(out / "1.npz.npz")) > 0


def test_a_source_that_has_changed_is_lifted_again(sources, tmp_path) -> None:
    out = tmp_path / "out"
    lift_here(sources[:2], out)
    before = results(out)
    later = time.time() + 10
    os.utime(sources[0], (later, later))
    assert lift_here(sources[:2], out).before == 1
    after = results(out)
    assert after["0.npz.npz"] != before["0.npz.npz"]
    assert after["1.npz.npz"] == before["1.npz.npz"]


def test_a_folder_of_images_that_has_changed_is_lifted_again(tmp_path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for image in range(2):
        cv2.imwrite(str(folder / f"{image}.png"), np.full((96, 128, 3), 90, np.uint8))
    assert lift_here([str(folder)], out).done == 1
    assert lift_here([str(folder)], out).before == 1
    # What programs leave in a folder that is looked at is no part of it.
    (folder / ".thumbnails").touch()
    (folder / "made").mkdir()
    assert lift_here([str(folder)], out).before == 1
    of_folder = folder.stat()
    cv2.imwrite(str(folder / "0.png"), np.full((96, 128, 3), 120, np.uint8))
    assert folder.stat().st_mtime_ns == of_folder.st_mtime_ns
    assert lift_here([str(folder)], out).done == 1


def test_a_source_that_an_older_file_replaces_is_lifted_again(sources, tmp_path) -> None:
    out = tmp_path / "out"
    lift_here(sources[:2], out)
    older = Path(sources[0]).stat().st_mtime - 1e6
    os.utime(sources[0], (older, older))
    assert lift_here(sources[:2], out).before == 1
    # A copy of sources and results with their times is done, in whatever order it is made.
    copy = tmp_path / "copy"
    shutil.copytree(out, copy / "out")
    for source in sources[:2]:
        shutil.copy2(source, copy)
    copied = [str(copy / Path(source).name) for source in sources[:2]]
    assert lift_here(copied, copy / "out").before == 2


def test_results_of_other_settings_are_not_mixed(sources, tmp_path, capfd) -> None:
    out = tmp_path / "out"
    lift_here(sources[:1], out)
    before = results(out)
    capfd.readouterr()
    assert lift(sources, out, "--lag", "4") == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert "lag 0, not 4" in line and "choose another folder" in line
    assert results(out) == before


def test_results_of_other_intrinsics_in_the_same_file_are_not_mixed(
    sources, tmp_path, monkeypatch, capfd
) -> None:
    monkeypatch.chdir(tmp_path)
    out, file = tmp_path / "out", tmp_path / "front.yaml"
    file.write_text(camera_yaml(*CAMERA.size, 900.0))
    with_file = replace(SETTINGS, camera_info=str(file))
    assert lift_here(sources[:1], out, settings=with_file).done == 1
    # Another name of the same file, and the same content in another file.
    shutil.copy(file, tmp_path / "copy.yaml")
    for name in ("front.yaml", "./front.yaml", "copy.yaml", "file://front.yaml"):
        same = replace(SETTINGS, camera_info=name)
        assert lift_here(sources[:1], out, settings=same).before == 1
    before = results(out)
    with pytest.raises(OutputError, match="camera_info has changed, or is another file"):
        lift_here(sources[:1], out)
    file.write_text(camera_yaml(*CAMERA.size, 1100.0))
    capfd.readouterr()
    assert lift(sources[:1], out, "--camera-info", "front.yaml") == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert "camera_info front.yaml has changed" in line and "choose another folder" in line
    assert results(out) == before
    file.unlink()
    assert lift(sources[:1], out, "--camera-info", "front.yaml") == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert "cannot read front.yaml, which camera_info names" in line


def test_results_of_other_weights_in_the_same_file_are_not_mixed(sources, tmp_path) -> None:
    out, weights = tmp_path / "out", tmp_path / "mine.onnx"
    shipped = share_folder("models") / "lite.onnx"
    shutil.copy(shipped, weights)
    mine = replace(SETTINGS, weights=str(weights))
    assert lift_here(sources[:1], out, settings=mine).done == 1
    assert lift_here(sources[:1], out, settings=mine).before == 1
    weights.write_bytes(shipped.read_bytes() + b"\0")
    with pytest.raises(OutputError, match=r"weights .*mine.onnx has changed"):
        lift_here(sources[:1], out, settings=mine)


def test_each_file_of_a_detector_is_compared(tmp_path) -> None:
    model, boxes = tmp_path / "mine.onnx", tmp_path / "boxes.onnx"
    beside = tmp_path / "mine.yaml"
    beside.write_text(
        "size: [192, 256]\ndecode: simcc\nlayout: coco17\n"
        "boxes: {model: boxes.onnx, decode: yolox_boxes, size: [640, 640]}\n"
    )
    mine = replace(SETTINGS, detector="onnx", model=str(model))
    for file in (model, boxes):
        file.write_bytes(b"1")
    write_settings(tmp_path, mine, ())
    for file in (model, boxes, beside):
        content = file.read_bytes()
        file.write_bytes(content + b"\n")
        with pytest.raises(OutputError, match=r"model .*mine.onnx has changed"):
            check_same(tmp_path, mine, ())
        file.write_bytes(content)
    check_same(tmp_path, mine, ())


def test_no_source_is_written_over_by_the_results_of_another(tmp_path, capfd) -> None:
    # The results of the folder "walk" are walk.npz and walk.mcap.
    folder = tmp_path / "walk"
    folder.mkdir()
    cv2.imwrite(str(folder / "0.png"), np.full((96, 128, 3), 90, np.uint8))
    content = write_keypoints(tmp_path / "other.npz").read_bytes()
    for ending in (".mcap", ".npz"):
        other = tmp_path / f"walk{ending}"
        other.write_bytes(content)
        assert lift([str(folder), str(other)], tmp_path, "--to", "mcap") == 1
        (line,) = capfd.readouterr().err.splitlines()
        assert f"it is the input {other}, which would be lost" in line
        assert other.read_bytes() == content and not (tmp_path / "lift.json").exists()
        other.unlink()


# ------------------------------------------------------------------------------ failures


def test_a_bad_source_does_not_stop_the_others(sources, tmp_path, capfd) -> None:
    out = tmp_path / "out"
    Path(sources[1]).write_bytes(b"garbage")
    assert lift(sources, out, "--to", "trc") == 1
    printed = capfd.readouterr()
    assert f"1.npz: failed: {sources[1]}: it is no readable npz" in printed.out
    assert printed.err.splitlines()[-1].startswith("emf-ros: 1 of 4 sources failed")
    assert set(results(out)) == NAMES - {"1.npz.npz"}
    assert len(list(out.glob("*.trc"))) == SOURCES - 1


def test_a_name_that_is_too_long_does_not_stop_the_other_sources(sources, tmp_path) -> None:
    long = tmp_path / f"{'1' * 249}.npz"
    shutil.copy(sources[0], long)
    for done in (0, 2):
        report = lift_here([str(long), *sources[:2]], tmp_path / "out")
        assert report.done + report.before == 2 and report.before == done and not report.left
        (failed,) = report.failed
        assert "too long" in failed.error and not failed.fatal


def test_a_format_that_cannot_hold_a_person_leaves_the_source_done(tmp_path, capfd) -> None:
    # Without the legs a BVH has no lengths of their bones.
    points = keypoints()["keypoints_2d"]
    legs = [f"{side}_{joint}" for side in ("left", "right") for joint in ("knee", "ankle")]
    points[:, [H36M17.index(joint) for joint in legs], 2] = 0
    source = str(write_keypoints(tmp_path / "sitting.npz", keypoints_2d=points))
    out = tmp_path / "out"
    report = lift_here([source], out, ".bvh", ".mp4", ".csv")
    assert report.done == 1 and not report.failed
    printed = capfd.readouterr().out
    assert "cannot write" in printed and "sitting.npz.bvh: the length of the bone" in printed
    assert "sitting.npz.mp4" not in {path.name for path in out.iterdir()}
    for ending in (".npz", ".csv"):
        assert len(read_recording(out / f"sitting.npz{ending}")) == len(points)
    assert lift_here([source], out, ".bvh", ".mp4", ".csv").before == 1


def test_a_batch_says_why_input_was_rejected(tmp_path, capfd) -> None:
    points = keypoints()["keypoints_2d"]
    points[5, :3, 2] = 1.5
    source = str(write_keypoints(tmp_path / "in.npz", keypoints_2d=points))
    lift_here([source], tmp_path / "out")
    assert f"in.npz: {Reason.SCORE_OVER_1}: 3. " in capfd.readouterr().out


def test_no_file_of_people_who_were_there_before_stays_among_the_new(tmp_path) -> None:
    one = keypoints()
    two = {name: np.concatenate([one[name]] * 2) for name in ("stamp", "track_id", "keypoints_2d")}
    two["track_id"] = np.repeat([1, 2], len(one["stamp"]))
    two["keypoints_2d"][len(one["stamp"]) :, :, 0] += 200
    order = np.argsort(two["stamp"], kind="stable")
    two = {name: values[order] for name, values in two.items()}
    source, out = tmp_path / "s.npz", tmp_path / "out"

    def made(number: int, **arrays) -> set[str]:
        write_keypoints(source, **arrays)
        os.utime(source, (number, number))
        assert lift_here([str(source)], out, ".trc", ".csv").done == 1
        return {path.name for path in out.iterdir()} - {"lift.json"}

    always = {"s.npz.npz", "s.npz.csv"}
    of_two = {"s.npz_person1.trc", "s.npz_person2.trc"}
    assert made(1, **two) == always | of_two
    # Files of others stay, and so do the results of a source with such a name.
    for name in ("s.npz_persons.trc", "s.npz_person7.trc", "s.npz_person7.npz", "other.trc"):
        (out / name).touch()
        always |= {name}
    assert made(2) == always | {"s.npz.trc"}
    assert made(3, **two) == always | of_two


def test_an_output_that_cannot_be_written_leaves_the_source_due(sources, tmp_path) -> None:
    out = tmp_path / "out"
    (out / "0.npz.csv").mkdir(parents=True)
    report = lift_here(sources[:1], out, ".csv")
    assert report.failed[0].fatal and not (out / "0.npz.npz").exists()


def test_a_video_without_people_is_done_and_has_no_rows(tmp_path) -> None:
    for number in range(2):
        folder = tmp_path / "in" / str(number)
        folder.mkdir(parents=True)
        for image in range(2):
            cv2.imwrite(str(folder / f"{image}.png"), np.full((96, 128, 3), 90, np.uint8))
    out = tmp_path / "out"
    assert lift_here([str(tmp_path / "in")], out, ".csv", ".bvh").done == 2
    assert len(load_recording(out / "0.npz")) == 0
    assert not list(out.rglob("*.bvh")) and len(list(out.rglob("*.csv"))) == 2


def kill_children(seen: set[int]) -> None:
    """Kill the processes that are not among those seen, as the kernel does without memory."""
    for child in multiprocessing.active_children():
        if child.pid is not None and child.pid not in seen:
            seen.add(child.pid)
            os.kill(child.pid, 9)


def test_a_killed_worker_loses_nothing_and_nothing_is_done_twice(sources, tmp_path) -> None:
    out = tmp_path / "out"
    jobs = batch.plan(sources, str(out), (), SETTINGS)
    names, before = [], {}
    for outcome in workers.outcomes(jobs, SETTINGS, 2):
        if not names:
            before = results(out)
            kill_children(set())
        assert not outcome.error
        names.append(outcome.name)
    assert sorted(names) == sorted(job.name for job in jobs)
    after = results(out)
    assert set(after) == NAMES
    assert {name: after[name] for name in before} == before


def test_a_source_that_kills_its_workers_is_given_up(tmp_path) -> None:
    # Nothing is ever written into it, so a worker waits.
    pipe = tmp_path / "stuck.npz"
    os.mkfifo(pipe)
    job = Job("stuck", str(pipe), str(tmp_path / "out"), ())
    seen: set[int] = set()
    stop = threading.Event()

    def killer() -> None:
        while not stop.wait(0.2):
            kill_children(seen)

    thread = threading.Thread(target=killer)
    thread.start()
    try:
        (outcome,) = workers.outcomes([job], SETTINGS, 1)
    finally:
        stop.set()
        thread.join()
    assert "3 processes have died on it" in outcome.error
    assert len(seen) >= workers.MAX_ATTEMPTS


# ------------------------------------------------------------------------------ the command


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--out", "x.npz"), "--out-folder"),
        ((), "--out"),
        (("--out", "x.npz", "--jobs", "2"), "--jobs"),
        (("--out-folder", "out", "--to", "fbx"), "fbx"),
    ],
)
def test_options_that_do_not_fit_are_refused(words, what, sources, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    given = sources if words == ("--out", "x.npz") else sources[:1]
    assert main(["lift", *given, *words]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert what in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


@pytest.mark.parametrize(("source", "why"), [("keypoints", "has no images"), ("77", "webcam")])
def test_a_video_of_what_has_no_images_is_refused_first(source, why, sources, tmp_path, capfd):
    source = sources[0] if source == "keypoints" else source
    assert main(["lift", source, "--out", str(tmp_path / "look.mp4")]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert why in line


def test_several_files_of_one_lift_and_a_video_of_3d_joints_alone(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(3):
        cv2.imwrite(str(images / f"{number}.png"), np.full((96, 128, 3), 90, np.uint8))
    npz, mp4 = tmp_path / "a.npz", tmp_path / "a.mp4"
    words = ["lift", str(images), "--device", "cpu", "--out", str(npz), "--out", str(mp4)]
    assert main(words) == 0
    assert len(load_recording(npz)) == 0 and cv2.VideoCapture(str(mp4)).isOpened()
    (trc,) = write_recording(two_people().rows(two_people().track_id == 1), tmp_path / "one.trc")
    assert main(["render", str(trc), str(images), "--out", str(mp4)]) == 0
    video = cv2.VideoCapture(str(mp4))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 3


def test_answers_about_people_are_recorded_where_they_are_asked_for(tmp_path: Path) -> None:
    two_people().save(tmp_path / "in.npz")
    out = tmp_path / "out.npz"
    words = ["lift", str(tmp_path / "in.npz"), "--device", "cpu", "--out", str(out)]
    assert main(words) == 0
    assert load_recording(out).body_names == ()
    assert main([*words, "--body"]) == 0
    read = load_recording(out)
    column = dict(zip(read.body_names, read.body.T, strict=True))
    facing = np.stack([column[f"facing_{axis}"] for axis in "xyz"], axis=1)
    known = np.isfinite(facing).all(axis=1)
    assert known.mean() > 0.5
    assert np.allclose(np.linalg.norm(facing[known], axis=1), 1, atol=1e-5)
    assert read.body.shape == (len(read), len(COLUMNS))
