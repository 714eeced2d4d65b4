"""The npz that an import writes, and the command that writes it."""

import argparse
import math

import numpy as np
import pytest
from mocap_samples import J, angles, assert_same_pose, clip_of, imported, person, truth, walk

from emf_ros.cli.mocap import add_parser
from emf_ros.io.mocap import FormatError
from emf_ros.skeletons import H36M17
from emf_ros.train.formats.archive import Archive, read_archive, write_archive
from emf_ros.train.formats.clips import resample
from emf_ros.train.formats.importer import ImportOptions, import_mocap
from emf_ros.train.formats.plot import facing, plot_clips, side_on
from emf_ros.train.mocap import load_mocap, to_anatomical_centres

# ---------------------------------------------------------------------------------- the npz itself


def test_the_trainer_reads_what_is_written(bvh, tmp_path):
    folder = tmp_path / "mocap"
    paths = [bvh("one", angles(20, 1)), bvh("two", angles(30, 2), subject="bert")]
    import_mocap(paths, folder / "mine.npz", ImportOptions(licence="CC0 1.0", source="home"))
    read = load_mocap(folder)
    assert list(read.subjects) == ["anna", "bert"] and list(read.lengths) == [20, 30]
    stored = read_archive(folder / "mine.npz").clips[1].positions
    assert_same_pose(stored, truth(angles(30, 2), walk(30))[0])
    assert read.positions[20:] == pytest.approx(to_anatomical_centres(stored), abs=1e-5)
    with np.load(folder / "mine.npz", allow_pickle=False) as data:
        assert data["pos_mm"].dtype == np.int16 and float(data["fps"]) == 30
        assert data["starts"].dtype == data["lengths"].dtype == np.int64
        assert str(data["licence"]) == "CC0 1.0" and str(data["up"]) == "z"
        assert set(data["source"]) == {"home"} and "nose" in str(data["note"])
        assert set(data.files) == {
            *("pos_mm", "starts", "lengths", "clip", "subject", "action", "source"),
            *("joints", "parents", "fps", "up", "licence", "note"),
        }


def test_our_own_format_is_read_checked_and_resampled(tmp_path):
    path = tmp_path / "own.npz"
    motion = person(100) + np.arange(100)[:, None, None] / 50 * (0.5, 0, 0)
    clips = [clip_of(motion), clip_of(motion[:51], "b", "bert"), clip_of(motion[:1], "c")]
    write_archive(path, Archive(clips, 50.0, "CC0", "as it was"))
    found, report = imported(path, tmp_path)
    assert [(c.name, c.subject, len(c.positions)) for c in found] == [
        ("a", "anna", 60),
        ("b", "bert", 31),
    ]
    assert found[0].positions == pytest.approx(resample(motion, 50.0), abs=1.1e-3)
    assert report.scraps == 1 and not report.notes
    archive = read_archive(tmp_path / "out.npz")
    assert (archive.licence, archive.note, archive.rate_hz) == ("CC0", "as it was", 30.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pos_mm": None, "fps": None}, "no fps, pos_mm"),
        ({"pos_mm": np.zeros((9, 16, 3))}, "16"),
        ({"up": "y"}, "y up"),
        ({"fps": np.nan}, "frame rate"),
        ({"fps": "fast"}, "frame rate"),
        ({"fps": np.array([30.0, 30.0])}, "frame rate"),
        ({"joints": np.array(H36M17.joints[::-1])}, "joints"),
        ({"lengths": np.array([99])}, "outside"),
        ({"subject": np.array(["a", "b"])}, "one length"),
        ({"starts": np.array([0.5])}, "whole numbers"),
        ({"pos_mm": np.rint(person(9)).astype(np.int16)}, "m long|one place"),
    ],
)
def test_damaged_archives_are_refused(tmp_path, changes, message):
    path = tmp_path / "own.npz"
    write_archive(path, Archive([clip_of(person(9))], 50.0))
    arrays = {**np.load(path), **changes}
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(FormatError, match=message):
        imported(path, tmp_path)


def test_files_that_are_no_npz_are_refused(tmp_path):
    whole, bad = tmp_path / "own.npz", tmp_path / "bad.npz"
    write_archive(whole, Archive([clip_of(person(90))], 30.0))
    data = whole.read_bytes()
    for damaged in (b"", b"PK\x03\x04 no", data[: len(data) // 2], data[:400] + data[420:]):
        bad.write_bytes(damaged)
        with pytest.raises(FormatError, match="bad.npz.*is no readable npz"):
            imported(bad, tmp_path)
    with open(bad, "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(FormatError, match="bad.npz.*is no readable npz"):
        imported(bad, tmp_path)


def test_a_bad_clip_does_not_cost_the_others(tmp_path):
    path = tmp_path / "own.npz"
    write_archive(path, Archive([clip_of(person(9)), clip_of(person(9) * 2, "giant")], 30.0))
    (clip,), report = imported(path, tmp_path)
    assert clip.name == "a"
    ((_, why),) = report.refused
    assert "clip giant" in why and "m long" in why


def test_clips_that_contradict_the_format_are_not_written(tmp_path):
    path = tmp_path / "own.npz"
    for motion in (person(2) + 40, person(2) * np.nan):
        with pytest.raises(FormatError, match="within 32.767 m"):
            write_archive(path, Archive([clip_of(motion)], 30.0))
    with pytest.raises(FormatError, match="no clips"):
        write_archive(path, Archive([], 30.0))
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------- folders, commands


def test_one_bad_file_does_not_stop_the_others(bvh, tmp_path):
    bvh("good")
    bvh("broken").write_text("no")
    (tmp_path / "in" / "readme.txt").touch()
    clips, report = imported([tmp_path / "in", tmp_path / "absent.bvh"], tmp_path)
    assert [c.name for c in clips] == ["anna/good"]
    assert [(p.name, bool(why)) for p, why in report.refused] == [
        ("broken.bvh", True),
        ("absent.bvh", True),
    ]
    assert any("licence" in note for note in report.notes)


def test_the_old_file_stays_when_no_clip_is_accepted(bvh, tmp_path):
    out = tmp_path / "out.npz"
    out.write_text("old")
    path = bvh()
    path.write_text("no")
    with pytest.raises(FormatError, match=r"HIERARCHY"):
        import_mocap([path], out)
    path.unlink()
    with pytest.raises(FormatError, match="holds no .bvh"):
        import_mocap([path.parent], out)
    with pytest.raises(FormatError, match="must be an .npz"):
        import_mocap([path], tmp_path / "out.txt")
    assert out.read_text() == "old" and not list(tmp_path.glob("*.part*"))


def test_subjects_come_from_folders_or_a_pattern(bvh, tmp_path):
    paths = [bvh("s1_walk"), bvh("s2_walk"), bvh("other")]
    clips, report = imported(paths, tmp_path, subject_pattern=r"(s\d)_")
    assert [c.subject for c in clips] == ["s1", "s2"]
    assert "pattern" in report.refused[0][1]
    with pytest.raises(FormatError, match="regular expression"):
        imported(paths, tmp_path, subject_pattern="(")


def test_clips_of_one_name_are_numbered(bvh, tmp_path):
    clips, _ = imported([bvh("walk"), bvh("walk", subject="bert")], tmp_path)
    assert [c.name for c in clips] == ["walk", "walk~2"]


def command(*arguments):
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    args = parser.parse_args([str(a) for a in arguments])
    args.run(args)


def test_the_commands_import_and_show(bvh, tmp_path, capsys):
    bvh("good")
    bvh("broken").write_text("no")
    out, pictures = tmp_path / "out.npz", tmp_path / "pictures"
    command("mocap", "import", tmp_path / "in", "--out", out, "--unit", "m", "--licence", "mine")
    printed = capsys.readouterr()
    assert "1 clips" in printed.out and "1 refused" in printed.out
    assert "broken.bvh: is no BVH" in printed.err
    command("mocap", "show", out, "--clip", "*good", "--out", pictures)
    assert [p.name for p in pictures.iterdir()] == ["anna_good.png"]
    assert (pictures / "anna_good.png").read_bytes().startswith(b"\x89PNG")
    for arguments, message in (
        ((out, "--clip", "bad*"), "anna/good"),
        ((tmp_path / "none.npz",), "none.npz"),
    ):
        with pytest.raises(FormatError, match=message):
            command("mocap", "show", *arguments, "--out", pictures)
    with pytest.raises(SystemExit):
        command("mocap", "show", out, "--limit", "0", "--out", pictures)
    assert "from 1, not '0'" in capsys.readouterr().err


def test_every_clip_has_an_image_whatever_its_name(tmp_path, recwarn):
    names = ["歩く", "走る", "s1/walk", "s1_walk", "s1 walk", "$\\no$ $formula$", "\udce4", ""]
    long = ["x" * 300, "日" * 150 + "1", "日" * 150 + "2"]
    clips = [clip_of(person(2), name) for name in (*names, *long)]
    paths = list(plot_clips(clips, 30.0, tmp_path))
    assert sorted(tmp_path.iterdir()) == sorted(paths) and len(set(paths)) == len(clips)
    shown = ["歩く", "走る", "s1_walk", "s1_walk~2", "s1_walk~3", "_no_formula_", "_", "_~2"]
    assert [p.stem for p in paths[: len(names)]] == shown
    assert not [w for w in recwarn if "Glyph" in str(w.message)]


def test_images_show_the_person_from_where_they_say():
    pose = person(2)
    assert facing(pose) == pytest.approx(-math.pi / 2)
    front, left = (side_on(pose, facing(pose) + a)[0] for a in (0.0, math.pi / 2))
    assert front[J("left_wrist"), 0] > 0.5 > -0.5 > front[J("right_wrist"), 0]
    # Seen from the left, a person faces left.
    assert left[J("nose"), 0] < left[J("head_top"), 0] - 0.05
    assert front[:, 1] == pytest.approx(pose[0, :, 2])
