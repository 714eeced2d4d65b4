"""Changed and truncated settings, models, weights and videos: a result, or the reader's error."""

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
from inputs import write_clip
from test_reader_properties import npz_bytes

from emf_ros.detect.tflite_graph import ConversionError, TfliteGraph
from emf_ros.detect.weights import ensure_tflite
from emf_ros.io.frame_source import VideoError
from emf_ros.io.mocap import FormatError
from emf_ros.io.mocap.joints import read_joint_map
from emf_ros.io.npz_limits import MAX_UNPACKED_BYTES
from emf_ros.io.paths import share_folder
from emf_ros.io.plain_yaml import MAX_BYTES, PlainYamlError, read_plain_yaml
from emf_ros.io.recordings import RecordingError, load_recording
from emf_ros.io.video import frames_of, open_source
from emf_ros.lift.engine import make_engine
from emf_ros.lift.engine_base import EngineError
from emf_ros.nodes.param_specs import ParamError
from emf_ros.nodes.parameter_files import read_parameters
from emf_ros.nodes.params import NODES

#: Fewer examples of what opens a model or a video.
FEWER = settings(max_examples=settings.default.max_examples // 8)

#: Small files that would stand for very much.
BOMBS = {
    "aliases of aliases": "a: &a [x, x]\n"
    + "".join(
        f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghijkl", "bcdefghijklm", strict=True)
    ),
    "an alias in itself": "a: &a [*a]\n",
    "deep lists": "[" * 400,
    "deep mappings": "{a: " * 400,
    "an impossible date": "a: 2001-99-99\n",
    "an impossible number": "a: 0b_\n",
    "too large": "#" * (MAX_BYTES + 1),
    "no text": b"\xff\xfe\0\xd8".decode("latin-1"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_yaml_that_would_grow_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes(BOMBS[name].encode("latin-1"))
    with pytest.raises(PlainYamlError) as refusal:
        read_plain_yaml(path)
    assert len(str(refusal.value).splitlines()) == 1


PARAMETERS = b"""/**/skeleton_lifter:
  ros__parameters:
    max_people: 4
    camera_height_m: [1.2, 0.9]
    lag: auto
/**/keypoint_detector:
  ros__parameters: {max_people: 4, variant: lite, max_rate_hz: 10.0}
/front/*:
  ros__parameters:
    use_sim_time: true
    qos_overrides./image.subscription.depth: 5
"""


@given(st.data(), st.sampled_from(NODES), st.sampled_from(["/front/", "/", "/a/b/"]))
def test_a_damaged_parameters_file_is_read_or_refused_in_one_line(
    data: Any, node: Any, space: str
) -> None:
    def read(path: Path) -> Any:
        try:
            return read_parameters(node, f"{space}{node.node}", [str(path)])
        except ParamError as error:
            # A refused value is named with its parameter, and not with the file.
            raise ParamError(f"params: {error}") from None

    read_or_refused(read, data.draw(damage(PARAMETERS)), ParamError, "params.yaml")


@given(st.data())
def test_a_damaged_joint_map_is_read_or_refused_in_one_line(data: Any) -> None:
    text = b"pelvis: Hips\nleft_hip: [LeftUpLeg, LeftLeg]\nhead: Head\n"
    read_or_refused(read_joint_map, data.draw(damage(text)), FormatError, "joints.yaml")


@FEWER
@given(st.data())
def test_a_damaged_model_of_the_lifter_is_loaded_or_refused(data: Any) -> None:
    whole = (share_folder("models") / "lite.onnx").read_bytes()
    # Most of the file are weights: the graph is at both ends.
    ends = data.draw(damage(whole[:4000])) + whole[4000:-4000] + data.draw(damage(whole[-4000:]))
    engine = read_or_refused(
        lambda path: make_engine("lite", path, "cpu", threads=1),
        ends,
        EngineError,
        "model.onnx",
    )
    assert engine is None or engine.description


@functools.cache
def tflite_network() -> bytes:
    return ensure_tflite("pose_detection.tflite").read_bytes()


@given(st.data())
def test_a_damaged_network_of_tflite_is_read_or_refused(data: Any) -> None:
    whole = tflite_network()
    head = data.draw(damage(whole[:60_000]))
    try:
        TfliteGraph(head + whole[60_000:])
    except ConversionError as error:
        assert len(str(error).splitlines()) == 1


@functools.cache
def clips() -> dict[str, bytes]:
    frames = [np.full((48, 64, 3), 20 * number, np.uint8) for number in range(6)]
    with tempfile.TemporaryDirectory() as folder:
        made = write_clip(Path(folder) / "clip.mp4", frames)
        avi = write_clip(Path(folder) / "clip.avi", frames)
        return {path.suffix: path.read_bytes() for path in (made, avi)}


@FEWER
@given(st.data(), st.sampled_from([".mp4", ".avi"]))
def test_a_damaged_video_is_read_or_refused_in_one_line(data: Any, suffix: str) -> None:
    def read(path: Path) -> int:
        video = open_source(path)
        try:
            return sum(1 for _ in frames_of(video))
        finally:
            video.close()

    changed = data.draw(damage(clips()[suffix]))
    count = read_or_refused(read, changed, VideoError, f"clip{suffix}")
    assert count is None or count < 1000


def test_an_npz_that_unpacks_to_more_than_memory_is_refused_before_it_is_unpacked(
    tmp_path: Path,
) -> None:
    path = tmp_path / "bomb.npz"
    data = bytearray(npz_bytes({"stamp": np.zeros(1)}, True))
    # The size in the directory of the archive, at its end.
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = (MAX_UNPACKED_BYTES + 1).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(RecordingError, match="at most 4 GB are read"):
        load_recording(path)
