"""Motion files as programs, editors and copies leave them: read right, or refused in one line."""

import numpy as np
import pytest
from mocap_samples import SMPL_TREE as TREE
from mocap_samples import (
    acclaim_motion,
    angles,
    assert_same_pose,
    bvh_text,
    clip_of,
    imported,
    person,
    smpl_joints,
    smpl_motion,
    truth,
    walk,
    write_acclaim,
)

from emf_ros.io.mocap import FormatError
from emf_ros.train.formats.archive import Archive, write_archive

FRAMES = 12
TURNS = angles(FRAMES)
TEXT = bvh_text(TURNS, walk(FRAMES), scale=100)
PLACES = truth(TURNS, walk(FRAMES))[0]


def write(folder, data, name="clip.bvh"):
    path = folder / "anna" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def refusal(path, tmp_path, **options):
    """The reason for which a file is refused, one line that names the file."""
    with pytest.raises(FormatError) as error:
        imported(path, tmp_path, **options)
    message = str(error.value)
    assert "\n" not in message and str(path) in message
    return message.partition(f"{path}: ")[2]


def notes_on(report):
    """What was noted, without the files that it is about."""
    return [note.partition(": ")[2] for note in report.notes if "licence" not in note]


# ------------------------------------------------------------------------------------------- text

READ = {
    "byte order mark": lambda t: b"\xef\xbb\xbf" + t.encode(),
    "UTF-16, little endian": lambda t: b"\xff\xfe" + t.encode("utf-16-le"),
    "UTF-16, big endian": lambda t: b"\xfe\xff" + t.encode("utf-16-be"),
    "UTF-16 without a mark": lambda t: t.encode("utf-16-le"),
    "UTF-32": lambda t: t.encode("utf-32"),
    "Latin-1 name": lambda t: t.replace("ROOT Hips", "ROOT H\u00fcfte").encode("latin-1"),
    "CRLF": lambda t: t.replace("\n", "\r\n"),
    "CR": lambda t: t.replace("\n", "\r"),
    "CRCRLF": lambda t: t.replace("\n", "\r\r\n"),
    "tabs": lambda t: t.replace(" ", "\t").replace("End\tSite", "End Site"),
    "a blank, then a tab": lambda t: t.replace(" ", " \t"),
    "blank lines": lambda t: t.replace("\n", "\n\n  \n"),
    "trailing blanks": lambda t: t.replace("\n", " \t \n"),
    "no last newline": lambda t: t.rstrip(),
    "padded with zeros": lambda t: t.encode() + bytes(512),
    "DOS end of file": lambda t: t + "\x1a",
    "lower case": lambda t: t.lower(),
    "upper case": lambda t: t.upper(),
    "header on one line": lambda t: t.replace("\nFrame Time", " Frame Time"),
    "MOTION on the line": lambda t: t.replace("MOTION\n", "MOTION "),
    "frame on the line": lambda t: t.replace("0.03333333\n", "0.03333333 "),
    "hierarchy on one line": lambda t: (
        t.split("MOTION")[0].replace("\n", " ") + "MOTION" + t.split("MOTION")[1]
    ),
    "braces on the line": lambda t: t.replace("\n\t{", " {").replace("\nHIERARCHY", "HIERARCHY"),
    "one line for all": lambda t: t.replace("\n", " "),
    "lines wrapped": lambda t: (
        t.replace(" ", "\n")
        .replace("End\nSite", "End Site")
        .replace("ROOT\n", "ROOT ")
        .replace("JOINT\n", "JOINT ")
    ),
    "no colons": lambda t: t.replace("Frames:", "Frames").replace("Time:", "Time"),
    "colons apart": lambda t: t.replace("Frames:", "Frames :").replace("Time:", "Time :"),
    "named end sites": lambda t: t.replace("End Site", "End Site Toe End"),
}


@pytest.mark.parametrize("variant", READ)
def test_bvh_text_of_any_encoding_and_layout_gives_the_same_motion(tmp_path, variant):
    changed = READ[variant](TEXT)
    assert changed != TEXT
    (clip,), report = imported(write(tmp_path, changed), tmp_path)
    assert len(clip.positions) == FRAMES and not notes_on(report)
    assert_same_pose(clip.positions, PLACES)


@pytest.mark.parametrize("variant", ["byte order mark", "UTF-16, big endian", "CR", "tabs"])
def test_acclaim_text_of_any_encoding_and_layout_gives_the_same_motion(tmp_path, variant):
    path = write_acclaim(tmp_path / "07", *acclaim_motion(FRAMES))
    (plain,), _ = imported(path, tmp_path)
    for file in (path, path.with_name("07.asf")):
        changed = READ[variant](file.read_text())
        file.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    (clip,), _ = imported(path, tmp_path)
    assert np.array_equal(clip.positions, plain.positions)


def test_decimal_commas_are_read_where_nothing_else_can_be_meant(tmp_path):
    (clip,), report = imported(write(tmp_path, TEXT.replace(".", ",")), tmp_path)
    assert_same_pose(clip.positions, PLACES)
    assert any("decimal commas" in note for note in notes_on(report))
    path = write_acclaim(tmp_path / "07", *acclaim_motion(FRAMES))
    (plain,), _ = imported(path, tmp_path)
    for file in (path, path.with_name("07.asf")):
        text = file.read_text().replace(".", ",").replace(":version 1,10", ":version 1.10")
        file.write_text(text)
    (clip,), _ = imported(path, tmp_path)
    assert np.array_equal(clip.positions, plain.positions)


@pytest.mark.parametrize(
    ("old", "new", "quoted"),
    [
        ("OFFSET 0.000000 0", "OFFSET 0,000000 0", "'0,000000' on line 4"),
        (" 0.000000 0.000000 0.000000\n", " 0,0,0 0.000000 0.000000\n", "'0,0,0' on line 4"),
        ("OFFSET 0.000000", "OFFSET 1.234,5", "'1.234,5' on line 4"),
    ],
)
def test_commas_that_could_mean_two_things_are_refused(tmp_path, old, new, quoted):
    reason = refusal(write(tmp_path, TEXT.replace(old, new, 1)), tmp_path)
    assert quoted in reason and "need a point" in reason


def line_of(text, part):
    return text[: text.index(part)].count("\n") + 1


@pytest.mark.parametrize(
    "word", ["-1.#IND00", "1.#QNAN", "spam", "1_000", "--5", "1e400x", "1e300"]
)
def test_a_bad_number_of_a_bvh_is_quoted_with_its_line(tmp_path, word):
    rows = TEXT.splitlines()
    row = rows[-4].split()
    row[7] = word
    rows[-4] = " ".join(row)
    reason = refusal(write(tmp_path, "\n".join(rows) + "\n"), tmp_path)
    assert f"'{word}' on line {len(rows) - 3} is no number" in reason


@pytest.mark.parametrize("word", ["-1.#IND", "1.#QNAN", "spam", "1e300"])
def test_a_bad_number_of_an_amc_is_quoted_with_its_line(tmp_path, word):
    path = write_acclaim(tmp_path / "07", *acclaim_motion(FRAMES))
    lines = path.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("ltibia"))
    lines[at] = f"ltibia 1.0 {word} 0.5"
    path.write_text("\n".join(lines) + "\n")
    assert f"'{word}' on line {at + 1} is no number" in refusal(path, tmp_path)


def test_a_bad_number_of_an_asf_is_quoted_with_its_file_and_line(tmp_path):
    path = write_acclaim(tmp_path / "07", *acclaim_motion(FRAMES))
    asf = path.with_name("07.asf")
    text = asf.read_text()
    length = text.split("    length ", 1)[1].split()[0]
    asf.write_text(text.replace(length, "long", 1))
    reason = refusal(path, tmp_path)
    assert f"07.asf 'long' on line {line_of(asf.read_text(), 'long')} is no number" in reason


def test_missing_values_written_as_nan_or_inf_are_gaps(tmp_path):
    rows = TEXT.splitlines()
    for at, word in ((-4, "nan"), (-5, "inf")):
        row = rows[at].split()
        row[7] = word
        rows[at] = " ".join(row)
    (clip,), _ = imported(write(tmp_path, "\n".join(rows) + "\n"), tmp_path)
    assert len(clip.positions) == FRAMES
    assert_same_pose(clip.positions, PLACES, tolerance=0.02)


# ----------------------------------------------------------------------------------- rates, frames


@pytest.mark.parametrize(
    ("time", "said"),
    [
        ("33.3333", "33.3333 s would be 0.03 frames a second"),
        ("30", "would be 0.0333 frames a second"),
        ("8.33333", "would be 0.12 frames a second"),
        ("0.0000333", "would be 3e+04 frames a second"),
        ("0", "'0' on line"),
        ("-0.0333", "'-0.0333' on line"),
        ("nan", "'nan' on line"),
        ("inf", "'inf' on line"),
        ("fast", "'fast' on line"),
    ],
)
def test_frame_times_that_no_motion_has_are_refused(tmp_path, time, said):
    text = TEXT.replace("Time: 0.03333333", f"Time: {time}")
    reason = refusal(write(tmp_path, text), tmp_path)
    assert said in reason and f"line {line_of(text, 'Frame Time')}" in reason
    assert ("is in seconds" in reason) == ("would be" in said)


@pytest.mark.parametrize("rate", [5.0, 12.5, 25.0, 59.94, 240.0])
def test_frame_times_of_real_recordings_are_read(tmp_path, rate):
    text = bvh_text(TURNS * 0 + 5, walk(FRAMES, 0.0), scale=100)
    text = text.replace("Time: 0.03333333", f"Time: {1 / rate:.7f}")
    (clip,), _ = imported(write(tmp_path, text), tmp_path)
    assert len(clip.positions) == int((FRAMES - 1) / rate * 30 + 0.01) + 1


def test_rates_of_other_formats_are_checked_too(tmp_path):
    path = smpl_motion(tmp_path / "eva" / "walk_poses.npz", mocap_framerate=0.03)
    np.savez(
        tmp_path / "model.npz",
        v_template=smpl_joints(),
        shapedirs=np.zeros((22, 3, 2)),
        J_regressor=np.eye(22),
        kintree_table=np.array([TREE, range(22)]).astype(np.uint32),
    )
    reason = refusal(path, tmp_path, body_model=tmp_path / "model.npz")
    assert "mocap_framerate would be 0.03 frames a second" in reason
    own = tmp_path / "own.npz"
    write_archive(own, Archive([clip_of(person(9))], 30000.0))
    assert "3e+04 frames a second" in refusal(own, tmp_path)
    with pytest.raises(FormatError, match="--rate would be 0.01 frames a second"):
        imported(own, tmp_path, rate_hz=0.01)


@pytest.mark.parametrize("declared", [0, 5, 95])
def test_frames_are_those_that_are_there_and_the_difference_is_noted(tmp_path, declared):
    text = TEXT.replace(f"Frames: {FRAMES}", f"Frames: {declared}")
    (clip,), report = imported(write(tmp_path, text), tmp_path)
    assert_same_pose(clip.positions, PLACES)
    assert len(clip.positions) == FRAMES
    assert any(f"says {declared} frames and holds {FRAMES}" in note for note in notes_on(report))


@pytest.mark.parametrize("characters", [4, 6, 11, 30, 300, 1000])
def test_a_bvh_that_was_cut_gives_its_whole_frames_with_a_note(tmp_path, characters):
    (clip,), report = imported(write(tmp_path, TEXT[:-characters]), tmp_path)
    found = len(clip.positions)
    assert FRAMES - 1 - characters // 300 <= found < FRAMES
    assert_same_pose(clip.positions, {joint: p[:found] for joint, p in PLACES.items()})
    assert any("cut" in note for note in notes_on(report))


@pytest.mark.parametrize("change", [-1, 1])
def test_a_row_of_too_few_or_too_many_numbers_is_refused_with_its_line(tmp_path, change):
    rows = TEXT.splitlines()
    row = rows[-5].split()
    rows[-5] = " ".join(row[:-1] if change < 0 else [*row, "0.0"])
    reason = refusal(write(tmp_path, "\n".join(rows) + "\n"), tmp_path)
    assert f"line {len(rows) - 4} has {len(row) + change} numbers" in reason


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("JOINT Spine\n", "JIONT Spine\n", "'JIONT' on line 6"),
        ("Xrotation", "Wrotation", "'Wrotation' on line 5"),
        ("CHANNELS 6", "CHANNELS six", "'six' on line 5"),
        (f"Frames: {FRAMES}", "Frames: many", "'many'"),
        ("Frame Time", "Rate", "in place of Frames: and Frame Time:"),
        ("ROOT Hips\n{", "ROOT Hips\n", "on line 4 in place of a brace"),
    ],
)
def test_a_damaged_header_is_quoted_with_its_line(tmp_path, old, new, said):
    assert said in refusal(write(tmp_path, TEXT.replace(old, new, 1)), tmp_path)


# ------------------------------------------------------------------------------ AMC frame numbers

AMC_FRAMES = 161


@pytest.fixture
def amc(tmp_path):
    """Writes an AMC of 161 frames at 120 Hz with changed lines, and gives the whole motion too."""
    path = write_acclaim(tmp_path / "07", *acclaim_motion(AMC_FRAMES))
    text = path.read_text()
    head, *frames = text.split("\nroot")
    starts = [head.rsplit("\n", 1)[1], *(f.rsplit("\n", 1)[1] for f in frames[:-1])]
    bodies = ["root" + f.rsplit("\n", 1)[0] for f in frames]
    (whole,), _ = imported(path, tmp_path)
    head = head.rsplit("\n", 1)[0]

    def change(numbers=None, keep=None, edit=lambda text: text, head=head):
        """`keep`: indices of frames; `numbers`: by index, the file's own by default."""
        rows = [
            f"{numbers[i] if numbers else starts[i]}\n{bodies[i]}"
            for i in (range(AMC_FRAMES) if keep is None else keep)
        ]
        path.write_text(edit(head + "\n" + "\n".join(rows) + "\n"))
        return path

    return change, whole.positions


def same_poses(found, whole):
    """Both begin over the origin, each by its own first frame."""
    shift = (found[:1, :1] - whole[:1, :1]) * (1, 1, 0)
    return found == pytest.approx(whole + shift, abs=2.5e-3)


def test_a_long_gap_in_the_frame_numbers_cuts_the_clip(amc, tmp_path):
    change, whole = amc
    path = change(keep=[i for i in range(AMC_FRAMES) if not 40 < i < 80])
    clips, report = imported(path, tmp_path)
    assert [len(c.positions) for c in clips] == [11, 21]
    assert same_poses(clips[0].positions, whole[:11]) and same_poses(clips[1].positions, whole[20:])
    assert any("jump 1 time over 39 frames" in note for note in notes_on(report))


def test_a_short_gap_in_the_frame_numbers_is_interpolated(amc, tmp_path):
    change, whole = amc
    # 24 frames are 0.2 s.
    path = change(keep=[i for i in range(AMC_FRAMES) if not 40 < i < 65])
    (clip,), report = imported(path, tmp_path)
    assert len(clip.positions) == len(whole) and same_poses(clip.positions, whole)
    assert any("0.20 s" in note for note in notes_on(report))


def test_a_gap_of_a_billion_frames_costs_nothing(amc, tmp_path):
    change, whole = amc
    numbers = [i if i < 80 else i + 999_000_000 - 80 for i in range(AMC_FRAMES)]
    clips, _ = imported(change(numbers), tmp_path)
    assert [len(c.positions) for c in clips] == [20, 21]


@pytest.mark.parametrize("first", [-3, 0, 5000])
def test_frames_may_be_numbered_from_anywhere(amc, tmp_path, first):
    change, whole = amc
    (clip,), report = imported(change(range(first, first + AMC_FRAMES)), tmp_path)
    assert same_poses(clip.positions, whole) and len(notes_on(report)) == 1


def test_repeated_and_backward_frame_numbers_are_left_out_and_counted(amc, tmp_path):
    change, whole = amc
    (clip,), report = imported(change(keep=[*range(100), *range(90, AMC_FRAMES)]), tmp_path)
    assert len(clip.positions) == len(whole) and same_poses(clip.positions, whole)
    assert any(f"10 of {AMC_FRAMES + 10} frames repeat" in note for note in notes_on(report))
    reason = refusal(change([7] * AMC_FRAMES), tmp_path)
    assert "1 frames, no motion" in reason and f"{AMC_FRAMES - 1} of {AMC_FRAMES}" in reason


def test_a_bone_that_one_frame_lacks_is_a_gap(amc, tmp_path):
    change, whole = amc

    def drop(text):
        lines = text.splitlines()
        at = [i for i, line in enumerate(lines) if line.startswith("ltibia")][50]
        return "\n".join(lines[:at] + lines[at + 1 :]) + "\n"

    (clip,), report = imported(change(edit=drop), tmp_path)
    assert len(clip.positions) == len(whole) and same_poses(clip.positions, whole)
    assert any(f"1 of {AMC_FRAMES} frames lack ltibia" in note for note in notes_on(report))


@pytest.mark.filterwarnings("error")
def test_a_bone_that_all_frames_lack_is_named(amc, tmp_path):
    change, _ = amc
    without = change(edit=lambda text: text.replace("\nupperneck", "\n#"))
    reason = refusal(without, tmp_path)
    assert "no frame that shows head" in reason
    assert f"{AMC_FRAMES} of {AMC_FRAMES} frames lack upperneck" in reason


@pytest.mark.parametrize("cut", [1, 8, 20, 60])
def test_an_amc_that_was_cut_gives_its_whole_frames_with_a_note(amc, tmp_path, cut):
    change, whole = amc
    (clip,), report = imported(change(edit=lambda text: text[: -cut - 1]), tmp_path)
    assert len(clip.positions) == len(whole) - 1
    assert same_poses(clip.positions, whole[:-1])
    assert any("cut" in note for note in notes_on(report))


def test_the_unit_of_angles_is_the_skeletons_where_the_motion_says_none(amc, tmp_path):
    change, whole = amc
    path = change(head=":FULLY-SPECIFIED")
    (clip,), report = imported(path, tmp_path)
    assert same_poses(clip.positions, whole)
    assert any("taken for degrees, as in its skeleton" in note for note in notes_on(report))
    asf = path.with_name("07.asf")
    text = asf.read_text()
    asf.write_text(text.replace("angle deg", "angle rad"))
    assert ":DEGREES" in refusal(path, tmp_path)
    # Angles up to 40 cannot be radians, so that the skeleton need not say it.
    asf.write_text(text.replace("  angle deg\n", ""))
    (clip,), _ = imported(path, tmp_path)
    assert same_poses(clip.positions, whole)
    small = path.read_text().splitlines()
    small = [
        line
        if line[0] in ":#" or line.startswith("root") or " " not in line
        else f"{line.split()[0]} 0.1 0.2 0.3"
        for line in small
    ]
    path.write_text("\n".join(small) + "\n")
    assert "says neither :DEGREES nor :RADIANS" in refusal(path, tmp_path)


def test_an_amc_that_says_its_rate_is_read_at_it(amc, tmp_path):
    change, whole = amc
    head = ":FULLY-SPECIFIED\n:DEGREES\n:SAMPLES-PER-SECOND 60"
    (clip,), report = imported(change(head=head), tmp_path)
    assert len(clip.positions) == 81 and not any("rate" in note for note in notes_on(report))
    assert "0.5 frames a second" in refusal(change(head=head[:-2] + "0.5"), tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("lfemur", "tail", "'tail .* on line 10, in place of a moving bone"),
        ("\n1\n", "\nframe 1\n", "'frame 1' on line 4, in place of a frame's number"),
        ("ltibia ", "ltibia 1.0 ", "ltibia has 4 numbers on line 11 in place of 3"),
    ],
)
def test_a_damaged_line_of_an_amc_is_quoted_with_its_number(amc, tmp_path, old, new, said):
    change, _ = amc
    reason = refusal(change(edit=lambda text: text.replace(old, new, 1)), tmp_path)
    with pytest.raises(FormatError, match=said):
        raise FormatError(reason)
