"""Motion files that are of another kind, damaged or changed at random: refused in one line."""

import random
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from mocap_samples import SMPL_TREE as TREE
from mocap_samples import (
    acclaim_motion,
    clip_of,
    imported,
    person,
    smpl_joints,
    smpl_motion,
    write_acclaim,
)
from test_mocap_files import FRAMES, TEXT, notes_on, refusal, write

from emf_ros.cli.mocap import SOME_REFUSED
from emf_ros.io.mocap import FormatError
from emf_ros.train.formats.archive import Archive, read_archive, write_archive
from emf_ros.train.formats.importer import ImportOptions, import_mocap

# ------------------------------------------------------------------------- not what the suffix says

BINARY_FBX = b"Kaydara FBX Binary  \0\x1a\0\xe8\x1c\0\0" + bytes(range(256))
NOT_BVH = {
    "empty": (b"", "is empty"),
    "blank": (b" \n\n", "is empty"),
    "zeros": (bytes(400), "is empty"),
    "binary FBX": (BINARY_FBX, "a binary FBX; export it as BVH"),
    "text FBX": (b"; FBX 7.3.0 project file\n", "an FBX; export it as BVH"),
    "zip": (b"PK\x03\x04\x14\0\0\0", "a zip archive"),
    "image": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG image"),
    "web page": (b"<!DOCTYPE html>\n<html>404</html>", "a web page; download the file itself"),
    "AMC": (b"#!OML:ASF P.asf\n:DEGREES\n1\nroot 0 0 0\n", "an AMC; name it .amc"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "noise": (bytes(range(256)) * 4, "a binary file, no text"),
    "text": (b"hello world\n", "begins with 'hello' on line 1"),
}


@pytest.mark.parametrize("content", NOT_BVH)
def test_a_file_that_is_no_bvh_is_refused_with_what_it_is(tmp_path, content):
    data, said = NOT_BVH[content]
    assert said in refusal(write(tmp_path, data), tmp_path)


def test_a_file_that_is_no_amc_asf_or_npz_is_refused_with_what_it_is(tmp_path):
    path = write_acclaim(tmp_path / "07", *acclaim_motion(FRAMES))
    asf, plain = path.with_name("07.asf"), path.read_text()
    for data, said in ((b"", "is empty"), (TEXT.encode(), "a BVH"), (BINARY_FBX, "binary FBX")):
        path.write_bytes(data)
        assert said in refusal(path, tmp_path)
        # Also where there is no skeleton.
        assert said in refusal(write(tmp_path, data, "clip.amc"), tmp_path)
        asf_text = asf.read_bytes()
        path.write_text(plain)
        asf.write_bytes(data)
        assert said in (reason := refusal(path, tmp_path)) and "07.asf" in reason
        asf.write_bytes(asf_text)
        assert said in refusal(write(tmp_path, data, "clip.npz"), tmp_path)


def test_hidden_files_of_folders_are_passed_over(tmp_path):
    write(tmp_path, TEXT)
    write(tmp_path, b"\0\5\x16\7\0\2\0\0Mac OS X", "._clip.bvh")
    clips, report = imported(tmp_path / "anna", tmp_path)
    assert len(clips) == 1 and not report.refused


# --------------------------------------------------------------------------------------------- npz


def npz(path, **changes):
    """An archive of one clip, with arrays changed or, for None, left out."""
    write_archive(path, Archive([clip_of(person(30))], 30.0, "CC0"))
    arrays = {**np.load(path), **changes}
    np.savez(path, **{name: a for name, a in arrays.items() if a is not None})
    return path


class Alarm:
    """Would show that a pickle was opened."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def test_an_npz_is_read_without_arrays_that_are_pickled_or_unknown(tmp_path):
    pickled = np.array([Alarm()], dtype=object)
    path = npz(tmp_path / "own.npz", meta=pickled, contacts=np.zeros((30, 2)), action=pickled)
    (clip,), report = imported(path, tmp_path)
    assert clip.positions == pytest.approx(person(30), abs=1e-3)
    assert clip.action == "" and any(
        "its action holds pickled" in note for note in notes_on(report)
    )


@pytest.mark.parametrize("name", ["subject", "pos_mm", "joints", "up", "fps"])
def test_a_pickled_array_that_is_needed_is_named_and_not_opened(tmp_path, name):
    path = npz(tmp_path / "own.npz", **{name: np.array([Alarm()], dtype=object)})
    assert f"{name} cannot be read: it holds pickled" in refusal(path, tmp_path)


@pytest.mark.parametrize("old", [b"'shape': (1,), }", b"{'descr'", b"\x93NUMPY"])
def test_an_npz_with_a_damaged_array_is_refused_with_its_name(tmp_path, old):
    path = npz(tmp_path / "own.npz")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    assert old in members["starts.npy"]
    members["starts.npy"] = members["starts.npy"].replace(old, old[:-1] + b"(")
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    assert "its starts is damaged" in refusal(path, tmp_path)


# -------------------------------------------------------------------------------- folders, command


def test_the_command_imports_the_good_files_lists_the_bad_and_exits_with_a_status(tmp_path):
    write(tmp_path, TEXT, "good.bvh")
    write(tmp_path, b"", "empty.bvh")
    write(tmp_path, BINARY_FBX, "model.bvh")
    out = tmp_path / "out.npz"

    def run(*paths):
        return subprocess.run(
            [sys.executable, "-m", "emf_ros.cli", "mocap", "import", *paths, "--out", out],
            capture_output=True,
            text=True,
        )

    some = run(tmp_path / "anna")
    assert some.returncode == SOME_REFUSED
    assert [clip.name for clip in read_archive(out).clips] == ["good"]
    for name, why in (("empty.bvh", "is empty"), ("model.bvh", "is a binary FBX")):
        assert any(name in line and why in line for line in some.stderr.splitlines())
    assert run(tmp_path / "anna" / "good.bvh").returncode == 0
    none = run(tmp_path / "anna" / "empty.bvh")
    # One line says what is done, one why it failed.
    assert none.returncode == 1 and none.stderr.count("\n") == 2


# ------------------------------------------------------------------------------- damage at random


def damaged(data, rng):
    """A few random changes of bytes, words and lines."""
    odd = [b"nan", b"-", b"1e300", b"inf", b"\n", b"}", b"{", b"\0", b"9999", b",", b"#", b"\xff"]
    for _ in range(rng.choice((1, 1, 2, 5))):
        at, kind = rng.randrange(len(data)), rng.randrange(6)
        if kind == 0:
            data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        elif kind == 1:
            data = data[:at] + data[at + rng.randrange(1, 60) :]
        elif kind == 2:
            data = data[:at] + rng.choice(odd) + data[at:]
        elif kind == 3:
            data = data[:at]
        else:
            by = b"\n" if kind == 4 else b" "
            parts = data.split(by)
            parts[rng.randrange(len(parts))] = rng.choice(parts)
            data = by.join(parts)
        data = data or b"x"
    return data


def changed_arrays(arrays, rng):
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice(sorted(arrays))
        array = arrays[name]
        number = rng.choice((np.nan, np.inf, 1e300, -1.0, 1e-9, 0.0, 1000.0))
        kind = rng.randrange(6)
        if kind == 0:
            arrays[name] = array.astype(object)
        elif kind == 1:
            arrays[name] = array.ravel()[: rng.randrange(array.size + 1)]
        elif kind == 2:
            arrays[name] = np.array(rng.choice((number, "x", 1j, None, True)))
        elif kind == 3:
            arrays[name] = np.array([array, array])
        elif kind == 4 and array.dtype.kind in "if" and array.size:
            numbers = array.astype(float)
            numbers.flat[rng.randrange(array.size)] = number
            arrays[name] = numbers
        elif kind == 5 and len(arrays) > 1:
            del arrays[name]
    return arrays


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["bvh", "amc", "asf", "npz", "arrays", "smpl arrays"])
def test_damage_never_gives_another_error_or_positions_of_no_person(tmp_path, kind):
    rng = random.Random(kind)
    amc = write_acclaim(tmp_path / "07", *acclaim_motion(FRAMES))
    asf = amc.with_name("07.asf")
    own = npz(tmp_path / "own.npz")
    path = {"bvh": write(tmp_path, TEXT), "amc": amc, "asf": asf}.get(kind, own)
    joints, model = smpl_joints(), None
    if kind == "smpl arrays":
        path, model = smpl_motion(tmp_path / "eva" / "walk_poses.npz"), tmp_path / "model.npz"
        np.savez(
            model,
            v_template=joints,
            shapedirs=np.stack([0.1 * joints, 0 * joints], axis=-1),
            J_regressor=np.eye(22),
            kintree_table=np.array([TREE, range(22)]).astype(np.uint32),
        )
    whole, out, taken = path.read_bytes(), tmp_path / "out.npz", 0
    arrays = dict(np.load(path)) if "arrays" in kind else {}
    for _ in range(300):
        if arrays:
            np.savez(path, **changed_arrays(dict(arrays), rng))
        else:
            path.write_bytes(damaged(whole, rng))
        try:
            import_mocap(
                [amc if path == asf else path], out, ImportOptions(body_model=model, licence="x")
            )
        except FormatError as error:
            assert "\n" not in str(error)
            continue
        taken += 1
        for clip in read_archive(out).clips:
            from_pelvis = clip.positions - clip.positions[:, :1]
            assert np.isfinite(clip.positions).all() and np.abs(from_pelvis).max() < 2.0
    assert 0 < taken < 300
