"""Outputs of the commands: refused before the work, complete or absent after it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from emf_ros.cli.main import main
from emf_ros.io import outputs
from emf_ros.io.outputs import OutputError, check_file, check_folder, replacing, write_text

CONTENT = b"no command must change this"


def refusal(capfd: pytest.CaptureFixture[str], *words: object) -> str:
    """The only line that a command prints, which ends with an error."""
    capfd.readouterr()
    try:
        code = main([str(word) for word in words])
    except SystemExit as ended:
        code = int(ended.code or 0)
    printed = capfd.readouterr()
    assert code in (1, 2), printed
    lines = (printed.out + printed.err).splitlines()
    assert len(lines) == 1, lines
    return lines[0]


# ------------------------------------------------------------------------------ the input


#: Command, with IN for the input and OUT for the output, and the input's name.
COMMANDS = [
    ("lift IN --out OUT", "in.npz"),
    ("lift other.npz --weights IN --out OUT", "in.npz"),
    ("lift other.npz --camera-info IN --out OUT", "in.npz"),
    ("render other.npz IN --out OUT", "in.mp4"),
    ("render IN other.mp4 --out OUT", "in.mp4"),
    ("export --weights IN --out OUT", "in.onnx"),
    ("import-published IN --out OUT", "in.safetensors"),
    ("mocap import IN --out OUT", "in.npz"),
    ("mocap import other.bvh IN --out OUT", "in.npz"),
    ("mocap import . --out OUT", "in.npz"),
]

WAYS = ("same", "relative", "symlink", "hard link", "linked folder", "linked input")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("command", "name"), COMMANDS)
def test_an_output_never_replaces_an_input(command, name, way, tmp_path, monkeypatch, capfd):
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    given = folder / name
    given.write_bytes(CONTENT)
    alias = folder / f"alias{given.suffix}"
    source, out = given, given
    if way == "relative":
        out = Path("..") / "folder" / name
    elif way == "symlink":
        alias.symlink_to(given)
        out = alias
    elif way == "hard link":
        os.link(given, alias)
        out = alias
    elif way == "linked folder":
        (tmp_path / "link").symlink_to(folder)
        out = tmp_path / "link" / name
    elif way == "linked input":
        alias.symlink_to(given)
        source = alias
    before = sorted(p.name for p in folder.iterdir())
    words = command.replace("IN", str(source)).replace("OUT", str(out)).split()
    line = refusal(capfd, *words)
    assert "it is the input" in line and str(out) in line
    assert given.read_bytes() == CONTENT
    assert sorted(p.name for p in folder.iterdir()) == before


@pytest.mark.parametrize("command", ["lift IN --out OUT", "render other.npz IN --out OUT"])
def test_an_output_is_none_of_the_images_of_a_folder(command, tmp_path, capfd):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "0001.PNG").write_bytes(CONTENT)
    out = tmp_path / ("out.npz" if command.startswith("lift") else "out.mp4")
    os.link(folder / "0001.PNG", out)
    words = command.replace("IN", str(folder)).replace("OUT", str(out)).split()
    assert "0001.PNG" in refusal(capfd, *words)
    assert (folder / "0001.PNG").read_bytes() == CONTENT


@pytest.mark.parametrize("way", ["same", "linked"])
@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("lift IN --out OUT", "walk_0.mcap"),
        ("convert IN --out OUT", "walk_0.mcap"),
        ("render other.npz IN --out OUT", "walk_0.mp4"),
        ("calibrate IN --board 9x6 --out OUT", "metadata.yaml"),
    ],
)
def test_an_output_is_no_file_of_a_bag(command, name, way, tmp_path, capfd):
    bag = tmp_path / "walk"
    bag.mkdir()
    # A file of the bag, and one beside it, which an earlier command may have made.
    for file in ("walk_0.mcap", "walk_0.db3", "metadata.yaml", "made.npz"):
        (bag / file).write_bytes(CONTENT)
    out = bag / name
    if way == "linked" or name == "walk_0.mp4":
        out = tmp_path / f"alias{out.suffix}"
        out.symlink_to(bag / ("walk_0.db3" if name == "walk_0.mp4" else name))
    words = command.replace("IN", str(bag)).replace("OUT", str(out)).split()
    line = refusal(capfd, *words)
    assert "it is the input" in line and str(out) in line
    assert {file.read_bytes() for file in bag.iterdir()} == {CONTENT}
    check_file(bag / "made.npz", [bag])


def test_an_input_in_the_home_folder_is_not_replaced(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("HOME", str(tmp_path))
    video = tmp_path / "in.mp4"
    video.write_bytes(CONTENT)
    assert "it is the input" in refusal(capfd, "lift", "~/in.mp4", "--out", video)
    assert video.read_bytes() == CONTENT


def test_an_output_folder_holds_no_input_under_an_outputs_name(tmp_path, capfd):
    out = tmp_path / "out"
    out.mkdir()
    for name, words in (
        ("lite.safetensors", ("train", "--mocap", tmp_path, "--init", out / "lite.safetensors")),
        ("report.json", ("eval", "--mocap", tmp_path, "--weights", out / "report.json")),
        ("lag.png", ("eval", "--mocap", tmp_path, "--weights", out / "lag.png")),
        ("video.json", ("eval", "--video", out / "video.json")),
    ):
        (out / name).write_bytes(CONTENT)
        assert "it is the input" in refusal(capfd, *words, "--out", out)
        assert (out / name).read_bytes() == CONTENT


def test_the_demo_does_not_replace_its_video(tmp_path):
    video = tmp_path / "overlay.mp4"
    video.write_bytes(CONTENT)
    command = [sys.executable, "-m", "emf_ros.nodes.demo", "--video", video, "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800)
    assert done.returncode == 1 and "it is the input" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and video.read_bytes() == CONTENT


# ------------------------------------------------------------------------------ bad targets


FILE_COMMANDS = [
    ("lift none.mp4", ".npz"),
    ("render none.npz none.mp4", ".mp4"),
    ("export --weights none.safetensors", ".onnx"),
    ("import-published none.pth", ".safetensors"),
    ("mocap import none.bvh", ".npz"),
]


@pytest.mark.parametrize(("command", "ending"), FILE_COMMANDS)
def test_a_file_that_cannot_be_written_is_refused_first(command, ending, tmp_path, capfd):
    """Before the input is looked at, which is missing."""
    words = command.split()
    (tmp_path / "file").write_bytes(CONTENT)
    (tmp_path / f"folder{ending}").mkdir()
    os.mkfifo(tmp_path / f"pipe{ending}")
    for out, why in (
        ("", "its name is empty"),
        (f"  {'':4}", "its name is empty"),
        (f"{tmp_path}/new{ending}/", "a file is wanted"),
        (tmp_path / "missing" / f"out{ending}", "there is no folder"),
        (tmp_path / "file" / f"out{ending}", "cannot write"),
        (tmp_path / f"pipe{ending}", "no ordinary file"),
        (tmp_path / f"{'long' * 80}{ending}", "too long"),
    ):
        line = refusal(capfd, *words, "--out", out)
        assert why in line and "none." not in line
    if not command.startswith("export"):  # which writes into a folder
        out = tmp_path / f"folder{ending}"
        assert "it is a folder" in refusal(capfd, *words, "--out", out)
        assert ending in refusal(capfd, *words, "--out", tmp_path / "out.txt")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "file",
        f"folder{ending}",
        f"pipe{ending}",
    ]


def test_an_export_is_not_named_as_another_format(tmp_path, capfd):
    for ending in (".safetensors", ".pt2"):
        line = refusal(capfd, "export", "--format", "onnx", "--out", tmp_path / f"out{ending}")
        assert ".onnx" in line


@pytest.mark.parametrize(
    "command",
    ["train --mocap none", "eval --mocap none", "eval --video none.mp4", "mocap show none.npz"],
)
def test_a_folder_that_cannot_be_written_is_refused_first(command, tmp_path, capfd):
    words = command.split()
    (tmp_path / "file").write_bytes(CONTENT)
    for out, why in (
        ("", "its name is empty"),
        (tmp_path / "file", "a folder is wanted"),
        (tmp_path / "file" / "below", "a part of this path is a file"),
        (tmp_path / ("long" * 80), "too long"),
    ):
        line = refusal(capfd, *words, "--out", out)
        assert why in line and "cannot write" in line
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def unprivileged():
    """A folder of root's, seen by a user without rights to it, even when root runs the test."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "kept.npz").write_bytes(CONTENT)
        (folder / "open").mkdir()
        (folder / "kept.npz").chmod(0o444)
        (folder / "open").chmod(0o777)
        (folder / "open" / "kept.npz").write_bytes(CONTENT)
        (folder / "open" / "kept.npz").chmod(0o444)
        folder.chmod(0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)


def test_without_permission_it_is_refused_first(unprivileged, capfd):
    for out in (
        unprivileged / "new.npz",
        unprivileged / "kept.npz",
        unprivileged / "open" / "kept.npz",
    ):
        assert "no permission" in refusal(capfd, "lift", "none.mp4", "--out", out)
    for out in (unprivileged, unprivileged / "new" / "below"):
        assert "no permission" in refusal(capfd, "train", "--mocap", "none", "--out", out)
    check_file(unprivileged / "open" / "new.npz")
    check_folder(unprivileged / "open" / "new", ())
    assert os.listdir(unprivileged / "open") == ["kept.npz"]


# ------------------------------------------------------------------------------ writing


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, error):
    out = tmp_path / "out.txt"
    out.write_text("old")
    with pytest.raises(error):
        with replacing(out) as part:
            part.write_text("half")
            assert ".part" in part.name and part.parent == tmp_path
            raise error("no more")
    assert out.read_text() == "old" and os.listdir(tmp_path) == ["out.txt"]


def test_a_link_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    real, link = tmp_path / "there" / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    link.symlink_to(real)
    write_text(link, "new")
    assert link.is_symlink() and real.read_text() == "new"
    assert os.listdir(real.parent) == ["real.txt"]


def test_parts_of_killed_processes_are_removed(tmp_path):
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    out = tmp_path / "out.txt"
    stale = [tmp_path / f"out.{killed.pid}{n}.part.txt" for n in ("", "-1")]
    others = [tmp_path / name for name in ("out.part.txt", f"out.{os.getpid()}.part.txt")]
    others.append(tmp_path / f"other.{killed.pid}.part.txt")
    for path in (*stale, *others):
        path.write_text("")
    write_text(out, "new")
    assert sorted(tmp_path.iterdir()) == sorted([out, *others])


def recording():
    from emf_ros.io.recording_writer import RecordingWriter
    from emf_ros.skeletons import get_layout

    writer = RecordingWriter(get_layout("coco17"), (320, 180))
    joints = np.zeros((17, 3))
    writer.add(0.0, 0, 1, joints, joints, np.zeros(17), np.zeros(3), True)
    return writer.recording()


def lifter():
    from emf_ros.model.lifter import Lifter
    from emf_ros.model.presets import LifterConfig

    small = {"frames": 9, "layers": 1, "dim": 32, "dim_rep": 32, "heads": 2}
    return Lifter(LifterConfig(**small)).eval()


def save_recording(path):
    recording().save(path)


def save_video(path):
    from emf_ros.io.render.video import render_recording

    noise = np.random.default_rng(0).integers(0, 255, (180, 320, 3), np.uint8)
    frames = [(i, i / 10, noise) for i in range(10)]
    render_recording(recording(), frames, path, 10, 180)


def save_weights(path):
    from emf_ros.model.checkpoint import save_weights

    save_weights(path, lifter())


def save_onnx(path):
    from emf_ros.model.export import export

    export(lifter(), path)


def save_torchscript(path):
    from emf_ros.model.export import export

    export(lifter(), path, "torchscript")


def save_torch_export(path):
    from emf_ros.model.export import export

    export(lifter(), path, "torch-export")


def save_motion(path):
    from emf_ros.train.formats.archive import Archive, Clip, write_archive

    write_archive(path, Archive([Clip("a", "b", "c", np.zeros((9, 17, 3)), "d")], 30.0))


def save_picture(path):
    from emf_ros.train.formats.archive import Clip
    from emf_ros.train.formats.plot import plot_clip

    positions = np.random.default_rng(0).normal(size=(9, 17, 3))
    plot_clip(Clip("a", "b", "c", positions, "d"), 30.0, path)


def save_text(path):
    write_text(path, "a report")


WRITERS = {
    save_recording: ".npz",
    save_weights: ".safetensors",
    save_onnx: ".onnx",
    save_torchscript: ".torchscript",
    save_torch_export: ".pt2",
    save_motion: ".npz",
    save_picture: ".png",
    save_text: ".md",
}


@pytest.fixture
def full_disk(monkeypatch):
    """Temporary files are on a device that is always full."""

    def part_on_a_full_device(real: Path, ending: str) -> Path:
        part = real.with_name(f"{real.stem}.part{ending}")
        part.symlink_to("/dev/full")
        return part

    monkeypatch.setattr(outputs, "_new_part", part_on_a_full_device)


@pytest.mark.parametrize(
    ("save", "ending"), WRITERS.items(), ids=lambda v: getattr(v, "__name__", v)
)
def test_a_full_disk_is_called_that_by_every_writer(save, ending, tmp_path, full_disk):
    out = tmp_path / f"out{ending}"
    out.write_bytes(CONTENT)
    with pytest.raises(OutputError, match="no space left on the device holding") as caught:
        save(out)
    assert str(out) in str(caught.value) and "\n" not in str(caught.value)
    assert out.read_bytes() == CONTENT and os.listdir(tmp_path) == [out.name]


def test_a_full_disk_is_called_that_by_the_video_writer(tmp_path, not_run):
    """OpenCV reports nothing, and removes what it cannot write: this needs a real full disk."""
    mount = f"mount -t tmpfs -o size=16k none {tmp_path}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode:
        not_run("a video on a full disk: this kernel lets no user mount a tmpfs")
        return
    program = f"{mount}; cd {tmp_path}; echo old > out.mp4; {sys.executable} -c 'import "
    program += 'test_outputs as t; t.save_video("out.mp4")\'; cat out.mp4; ls'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", program],
        env={**os.environ, "PYTHONPATH": f"{Path(__file__).parent}:{os.getcwd()}"},
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert "OutputError: cannot write out.mp4: no space left on the device" in done.stderr
    assert done.stdout.split() == ["old", "out.mp4"]


@pytest.mark.parametrize(
    ("save", "ending"),
    [*WRITERS.items(), (save_video, ".mp4")],
    ids=lambda v: getattr(v, "__name__", v),
)
def test_every_writer_leaves_the_file_alone(save, ending, tmp_path):
    out = tmp_path / "sub" / f"out{ending}"
    save(out)
    assert os.listdir(out.parent) == [out.name] and out.stat().st_size > 0


def test_a_file_that_grows_too_large_is_called_that(tmp_path):
    out = tmp_path / "out.npz"
    command = [sys.executable, "-c", "import test_outputs as t; t.save_recording('out.npz')"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{Path(__file__).parent}:{os.getcwd()}"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert "OutputError: cannot write out.npz: the file is larger" in done.stderr
    assert not out.exists() and os.listdir(tmp_path) == []


# ------------------------------------------------------------------------------ numbers


NUMBERS = [
    ("lift in.npz --out o.npz --people", ("0", "-1", "257", "1.5", "nan", "x", ""), "1 to 256"),
    ("lift in.npz --out o.npz --lag", ("-1", "0.5", "nan"), "from 0"),
    ("lift in.npz --out o.npz --fov", ("0", "0.9", "171", "nan", "inf", "-60"), "1 up to 170"),
    ("train --mocap m --out o --budget", ("0", "-1", "nan", "inf"), "above 0"),
    ("train --mocap m --out o --minutes", ("0", "-1", "nan", "inf"), "above 0"),
    ("train --mocap m --out o --steps", ("-1", "1e3", "nan"), "from 0"),
    ("train --mocap m --out o --threads", ("0", "-1", "100000"), "1 to 1024"),
    ("train --mocap m --out o --seed", ("-1", "4294967296", "x"), "0 to 4294967295"),
    ("eval --mocap m --windows", ("0", "-5"), "from 1"),
    ("eval --video v --fov", ("0", "nan"), "1 up to 170"),
    ("eval --video v --lag", ("-1",), "from 0"),
    ("export --threads", ("0", "-1"), "1 to 1024"),
    ("import-published c --out o --frames", ("0", "-1"), "from 1"),
    ("import-published c --out o --heads", ("0", "-1"), "from 1"),
    ("models --threads", ("0", "-1"), "1 to 1024"),
    ("models --seconds", ("0", "-1", "nan", "inf"), "above 0"),
    ("mocap import p --out o --rate", ("0", "-1", "nan", "inf"), "above 0"),
    ("mocap show f --out o --limit", ("0", "-1"), "from 1"),
]


@pytest.mark.parametrize(("command", "values", "range_"), NUMBERS)
def test_a_number_out_of_its_range_is_refused_with_the_range(command, values, range_, capfd):
    *words, option = command.split()
    for value in values:
        line = refusal(capfd, *words, f"{option}={value}")
        assert option in line and range_ in line and repr(value) in line


def test_the_field_of_view_has_the_cameras_range():
    from emf_ros.cli.arguments import field_of_view
    from emf_ros.geometry.camera import Camera, CameraError

    for text in ("1", "170"):
        Camera.from_fov(640, 480, field_of_view(text))
    for beyond in (0.99, 170.01):
        with pytest.raises(CameraError):
            Camera.from_fov(640, 480, beyond)


def test_the_formats_of_export_are_the_models():
    from emf_ros.cli.weights import EXPORT_ENDINGS
    from emf_ros.model.export import FORMATS

    assert EXPORT_ENDINGS == FORMATS


def test_the_demos_numbers_have_ranges():
    from emf_ros.nodes import demo

    for words in (
        ("--people", "0"),
        ("--people", "21"),
        ("--fov", "nan"),
        ("--rate", "0"),
        ("--rate", "inf"),
        ("--lag", "-1"),
        ("--lag", "some"),
    ):
        with pytest.raises(SystemExit) as ended:
            demo.main([f"{words[0]}={words[1]}"])
        assert ended.value.code == 2


# ------------------------------------------------------------------------------ interrupts


def test_a_signal_that_ends_the_program_cleans_up(tmp_path):
    """SIGTERM while a file is being written: by default it would leave the part behind."""
    program = f"""
import os, sys
from emf_ros.cli.interrupt import signals_as_interrupts
from emf_ros.io.outputs import replacing
try:
    with signals_as_interrupts(), replacing({str(tmp_path / "out.txt")!r}):
        print("writing", flush=True)
        sys.stdin.read()
except KeyboardInterrupt as interrupt:
    sys.exit(int(interrupt.args[0]))
"""
    for number in (signal.SIGTERM, signal.SIGHUP):
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None and process.stdout.readline() == "writing\n"
        assert len(os.listdir(tmp_path)) == 1
        process.send_signal(number)
        process.communicate(timeout=800)
        assert process.returncode == number and os.listdir(tmp_path) == []
