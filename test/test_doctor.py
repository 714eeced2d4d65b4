"""`emf-ros doctor`: faults that are really there are found, each with its fix."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ros_session import TIMEOUT_S, wait_for

from emf_ros.cli.main import main
from emf_ros.doctor import gpu, memory, packages, ros, topics, weights
from emf_ros.doctor.report import _guarded
from emf_ros.doctor.result import Level, Result
from emf_ros.downloads.cache import file_sha256
from emf_ros.runtime.shared_memory import MIN_AGE_S

ROOT = Path(__file__).resolve().parents[1]


def bad(results: list[Result]) -> list[Result]:
    """The findings that are not well; each has a fix of one line."""
    found = [result for result in results if result.level is not Level.OK]
    for result in found:
        assert result.fix and "\n" not in result.fix + result.message
    return found


def only(results: list[Result]) -> Result:
    """The only finding that is not well."""
    (result,) = bad(results)
    return result


# ------------------------------------------------------------------ Python and packages


def test_the_required_packages_are_those_of_setup_py() -> None:
    text = re.search(r"install_requires=\[(.*?)\]", (ROOT / "setup.py").read_text(), re.DOTALL)
    assert text
    declared = dict(re.findall(r'"([\w-]+)>=([\d.]+)"', text[1]))
    assert {name: least for name, (_, least) in packages.REQUIRED.items()} == declared


def test_these_packages_are_well() -> None:
    assert not bad([*packages.python(), *packages.packages(), *packages.pairs()])


def test_an_old_python_and_the_packages_of_another_python_are_errors() -> None:
    assert "3.9 is too old" in only(packages.python((3, 9), ())).message
    path = ("/opt/ros/jazzy/lib/python3.12/site-packages", "/usr/lib/python3.11/dist-packages")
    assert "packages of Python 3.12" in only(packages.python((3, 11), path)).message


def test_a_missing_and_an_old_package_are_errors() -> None:
    missing = only(packages.packages({"no-such": ("no_such_module", "1.0")}))
    assert missing.level is Level.ERROR and "pip install 'no-such>=1.0'" in missing.fix
    assert "older than 99" in only(packages.packages({"numpy": ("numpy", "99")})).message


def test_packages_that_overwrite_each_other_are_found() -> None:
    found = only(packages.duplicates(["opencv_python", "opencv-python-headless", "numpy"]))
    assert "pip install opencv-python-headless" in found.fix
    assert not packages.duplicates(["onnxruntime", "numpy"])


def test_a_numpy_that_does_not_load_is_reported_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text(
        "raise ImportError('numpy.core.multiarray failed to import')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "emf_ros.cli", "doctor", "--seconds", "0", "--json"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    report = json.loads(done.stdout)
    found = {r["check"]: r for r in report["results"]}
    assert found["numpy"]["level"] == "error" and "cv2" not in found
    assert "numpy.core.multiarray" in found["numpy"]["message"]
    assert report["errors"] == sum(r["level"] == "error" for r in report["results"]) > 0


def test_a_package_that_was_built_for_another_numpy_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cv2.py").write_text("raise ImportError('numpy.core.multiarray failed')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    found = only(packages.packages({"opencv-python-headless": ("cv2", "4.5")}))
    assert "built for another numpy" in found.message and "'numpy<2'" in found.fix


def test_a_check_that_fails_is_a_finding() -> None:
    def broken() -> list[Result]:
        raise ValueError("two\nlines")

    assert "ValueError: two lines" in only(_guarded(broken, packages.python)).message


# ------------------------------------------------------------------ GPU


def test_the_cpu_provider_runs_a_network() -> None:
    assert [r.message for r in gpu.providers(present=False)] == ["runs a network"]


def test_an_onnxruntime_without_cuda_beside_a_gpu_is_a_warning() -> None:
    found = only(gpu.providers(["CPUExecutionProvider"], present=True))
    assert "built without CUDA" in found.message and "onnxruntime-gpu" in found.fix


def test_a_provider_that_does_not_start_is_an_error() -> None:
    found = gpu._provider("NoSuchExecutionProvider")
    assert found.level is Level.ERROR
    assert "this onnxruntime has no NoSuchExecutionProvider" in found.message


def test_a_driver_that_fails_and_a_container_without_the_gpu_are_found(tmp_path: Path) -> None:
    tool = tmp_path / "smi"
    tool.write_text("#!/bin/sh\necho 'Driver/library version mismatch'\nexit 18\n")
    tool.chmod(0o755)
    assert "version mismatch" in only(gpu.driver(True, tool=str(tool))).message
    tool.touch()
    assert "--gpus all" in only(gpu.driver(False, version_file=tool)).fix
    assert not bad(gpu.driver(False, version_file=tmp_path / "none"))


@pytest.mark.parametrize(
    ("release", "found"),
    [("R36 (release), REVISION: 4.3, GCID: 1", "JetPack 6"), ("R38, REVISION: 2.0", "JetPack 7")],
)
def test_the_jetpack_is_told_by_its_release(tmp_path: Path, release: str, found: str) -> None:
    file = tmp_path / "nv_tegra_release"
    file.write_text(f"# {release}\n")
    (result,) = gpu.jetpack(file)
    assert result.message.startswith(found) and result.level is Level.OK
    file.write_text("# R35 (release), REVISION: 6.1\n")
    assert "JetPack 5" in only(gpu.jetpack(file)).message
    assert gpu.jetpack(tmp_path / "none") == []


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "EMF_ROS_CACHE" in only(gpu.engine_cache(tmp_path / "file" / "cache")).fix
    assert not bad(gpu.engine_cache(tmp_path / "new"))


# ------------------------------------------------------------------ weights


def test_damaged_and_missing_shipped_weights_are_errors(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(ROOT / "models", models)
    assert not bad(weights.shipped(models))
    with open(models / "lite.onnx", "r+b") as file:
        file.seek(1000)
        file.write(b"\0\1\2\3")
    (models / "lite.safetensors").unlink()
    assert {r.message.split()[0] for r in bad(weights.shipped(models))} == {
        str(models / "lite.onnx"),
        str(models / "lite.safetensors"),
    }
    (models / weights.SUMS).write_text("nonsense\n")
    assert weights.SUMS in only(weights.shipped(models)).message


def test_damaged_networks_in_the_cache_are_errors_and_missing_ones_a_warning(
    tmp_path: Path,
) -> None:
    assert only(weights.downloaded(tmp_path)).level is Level.WARNING
    folder = tmp_path / "blazepose"
    folder.mkdir()
    (folder / "pose_landmark_full.tflite").write_bytes(b"half of a file")
    built, own = folder / "built.onnx", folder / "own.onnx"
    for path in (built, own):
        path.write_bytes(b"network")
    built.with_suffix(".json").write_text(json.dumps({"sha256": file_sha256(own)}))
    assert "pose_landmark_full.tflite is damaged" in only(weights.downloaded(tmp_path)).message
    built.write_bytes(b"networ")
    assert len(bad(weights.downloaded(tmp_path))) == 2


# ------------------------------------------------------------------ shared memory


def test_segments_of_killed_processes_are_a_warning_and_stay(tmp_path: Path) -> None:
    segment = tmp_path / "fastdds_0123456789abcdef"
    segment.write_bytes(b"\0" * 2**20)
    lock = tmp_path / f"{segment.name}_el"
    lock.touch()
    then = lock.stat().st_mtime - 2 * MIN_AGE_S
    os.utime(lock, (then, then))
    assert any("hold 1.0 MB" in r.message for r in bad(memory.shared_memory(tmp_path)))
    assert segment.exists() and lock.exists()
    assert "there is no" in only(memory.shared_memory(tmp_path / "none")).message


def test_a_small_shared_memory_is_a_warning(tmp_path: Path, not_run) -> None:
    """On a real file system of 2 MB, mounted in a namespace of its own."""
    code = (
        "import sys; from pathlib import Path; from emf_ros.doctor.memory import shared_memory\n"
        "print(*shared_memory(Path(sys.argv[1])))"
    )
    mount = f'mount -t tmpfs -o size=2m none "{tmp_path}" && exec "$@"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount, "sh", sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        not_run("doctor: a small /dev/shm (no user namespaces here)")
        return
    assert "has 2 of 2 MB free" in done.stdout and "--shm-size" in done.stdout, done.stderr


# ------------------------------------------------------------------ ROS


def test_the_variables_of_ros_are_checked() -> None:
    def messages(**variables: str) -> str:
        return "; ".join(r.message for r in bad(ros.environment(variables)))

    assert messages() == ""
    assert "'many'" in messages(ROS_DOMAIN_ID="many") and "'233'" in messages(ROS_DOMAIN_ID="233")
    assert "outgoing connections" in messages(ROS_DOMAIN_ID="150")
    assert "OFF" in messages(ROS_AUTOMATIC_DISCOVERY_RANGE="OFF")
    assert "overrides" in messages(ROS_AUTOMATIC_DISCOVERY_RANGE="SUBNET", ROS_LOCALHOST_ONLY="1")
    two = "/opt/ros/humble:/home/me/ws/install:/opt/ros/jazzy"
    assert "humble, jazzy" in messages(AMENT_PREFIX_PATH=two)


def test_another_domain_and_another_middleware_are_warnings(start_node) -> None:
    start_node("video_source", loop=True, source=str(ROOT / "docs" / "images"))
    own = {"ROS_DOMAIN_ID": os.environ["ROS_DOMAIN_ID"]}
    other = {"ROS_DOMAIN_ID": "229"}
    said = "; ".join(r.message for r in ros.other_processes("rmw_fastrtps_cpp", other))
    assert f"run in domain {own['ROS_DOMAIN_ID']}, this shell has 229" in said
    said = "; ".join(r.message for r in ros.other_processes("rmw_other_cpp", own))
    assert "use rmw_fastrtps_cpp, this shell has rmw_other_cpp" in said


def test_a_middleware_that_is_not_installed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_no_such_cpp")
    monkeypatch.setattr(topics, "EXTRA_S", 4 * TIMEOUT_S)
    facts, found = topics.survey(0.1)
    assert not facts and "RMW_IMPLEMENTATION" in only(found).fix


@pytest.fixture(scope="module")
def live(ros) -> dict[str, list[dict[str, str]]]:
    """The findings of `emf-ros doctor` about topics with faults, by topic."""
    import contextlib
    import io
    import threading

    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import CameraInfo, Image

    from emf_ros.nodes.qos import LATCHED_QOS

    node = ros.node
    stop = threading.Event()
    image = Image(width=64, height=48, encoding="rgb8", step=192)
    image.data.frombytes(bytes(64 * 48 * 3))
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    made = {}
    for name in ("good", "zero_k", "crop", "model", "alone", "still"):
        made[name] = node.create_publisher(Image, f"/{name}/image_raw", best_effort)
        if name != "alone":
            made[f"{name}_info"] = node.create_publisher(CameraInfo, f"/{name}/camera_info", 1)
    # It sends its intrinsics once, and keeps them for latecomers.
    node.destroy_publisher(made.pop("good_info"))
    kept = node.create_publisher(CameraInfo, "/good/camera_info", LATCHED_QOS)
    node.create_publisher(Image, "/silent/image_raw", 1)
    # Reliable: it hears no best effort.
    node.create_subscription(Image, "/good/image_raw", lambda m: None, 1)
    node.create_subscription(Image, "/nobody/image_raw", lambda m: None, 1)
    k = [60.0, 0.0, 31.5, 0.0, 60.0, 23.5, 0.0, 0.0, 1.0]
    info = {
        "good": CameraInfo(width=64, height=48, k=k),
        "zero_k": CameraInfo(width=64, height=48),
        "crop": CameraInfo(width=64, height=64, k=k),
        "model": CameraInfo(width=64, height=48, k=k, d=[0.1] * 5, distortion_model="kb99"),
        "still": CameraInfo(width=64, height=48, k=k),
    }

    info["good"].header.frame_id = "camera"
    kept.publish(info["good"])

    def publish() -> None:
        while not stop.wait(0.02):
            for name, publisher in made.items():
                message = info[name.removesuffix("_info")] if name.endswith("_info") else image
                message.header.frame_id = "" if name.startswith("alone") else "camera"
                message.header.stamp = node.get_clock().now().to_msg()
                if name.startswith("still"):
                    message.header.stamp.sec = message.header.stamp.nanosec = 7
                publisher.publish(message)

    thread = threading.Thread(target=publish)
    thread.start()
    found: dict[str, list[dict[str, str]]] = {}

    def examined() -> bool:
        """Whether every topic was discovered and heard, which a busy machine may not do at once."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            code = main(["doctor", "--json", "--seconds", "2"])
        found.clear()
        for result in json.loads(out.getvalue())["results"]:
            found.setdefault(result["check"], []).append(result)
        seen = {*(f"/{name}/image_raw" for name in (*info, "alone", "silent")), "/nobody/image_raw"}
        late = "no message arrived|one message|are too few|stamps are"
        starved = [
            result
            for topic, results in found.items()
            for result in results
            if topic.startswith(tuple(f"/{name}/" for name in (*info, "alone")))
            and re.search(late, result["message"])
        ]
        return code == 1 and seen <= set(found) and not starved

    try:
        wait_for(examined, "findings about all topics")
    finally:
        stop.set()
        thread.join()
        for publisher in list(node.publishers):
            if re.match("/(good|zero_k|crop|model|alone|still|silent)", publisher.topic):
                node.destroy_publisher(publisher)
        for subscription in list(node.subscriptions):
            if subscription.topic_name in ("/good/image_raw", "/nobody/image_raw"):
                node.destroy_subscription(subscription)
    return found


@pytest.mark.parametrize(
    ("topic", "level", "text"),
    [
        ("/good/image_raw", "ok", "64x48 rgb8"),
        ("/good/camera_info", "ok", "fits its images"),
        ("/good/image_raw", "error", "hears nothing of"),
        ("/zero_k/camera_info", "error", "K is zero"),
        ("/crop/camera_info", "error", "is for 64x64, the images of /crop/image_raw are 64x48"),
        ("/model/camera_info", "error", "unknown distortion model 'kb99'"),
        ("/alone/image_raw", "warning", "there is no /alone/camera_info"),
        ("/alone/image_raw", "warning", "frame_id is empty"),
        ("/still/image_raw", "error", "same stamp"),
        ("/silent/image_raw", "error", "no message arrived"),
        ("/nobody/image_raw", "warning", "no node publishes it"),
    ],
)
def test_live_topics_are_judged(live, topic: str, level: str, text: str) -> None:
    findings = [(r["level"], r["message"]) for r in live.get(topic, [])]
    assert any(level == own and text in message for own, message in findings), findings


def test_a_good_topic_has_no_other_finding(live) -> None:
    assert {r["level"] for r in live["/good/camera_info"]} == {"ok"}
    assert len([r for r in live["/good/image_raw"] if r["level"] != "ok"]) == 1


def test_slow_images_old_stamps_and_other_frames_are_warnings() -> None:
    heard = {"messages": 9, "stamps": 9, "rate_hz": 2.0, "offset_s": 3600.0, "size": [64, 48]}
    heard |= {"encoding": "rgb8", "frame_ids": ["camera"]}
    of_info = heard | {"frame_ids": ["base"], "calibrated": True, "problem": "", "doubts": ""}
    image, info = (
        {"name": name, "types": [kind], "publishers": ["/driver"], "heard": own}
        for name, kind, own in (
            ("/c/image_raw", topics.IMAGES[0], heard),
            ("/c/camera_info", topics.CAMERA_INFO, of_info | {"model": "plumb_bob"}),
        )
    )
    for topic in (image, info):
        topic |= {"subscribers": [], "incompatible": []}
    mixed = {**info, "name": "/mixed", "types": ["a/msg/A", "b/msg/B"]}
    assert "several types" in only(topics.judge({"rmw": "x", "topics": [mixed]})).message
    clock = {**info, "name": "/clock", "types": ["rosgraph_msgs/msg/Clock"]}
    said = [r.message for r in bad(topics.judge({"rmw": "x", "topics": [image, info]}))]
    assert [word for word in ("too few", "3600.0 s old", "'base'") if word in "; ".join(said)] == [
        "too few",
        "3600.0 s old",
        "'base'",
    ]
    said = [r.message for r in bad(topics.judge({"rmw": "x", "topics": [image, info, clock]}))]
    assert not any("old" in message for message in said)
    unheard = [image | {"heard": None}, info | {"heard": None}]
    (found,) = bad(topics.judge({"rmw": "x", "topics": unheard}))
    assert (found.check, found.level) == ("/c/image_raw", "warning")
    assert "was not checked" in found.message


def test_depth_that_is_not_sent_and_our_own_pictures_are_no_cameras() -> None:
    silent = {"messages": 0, "stamps": 0, "rate_hz": None, "offset_s": None, "size": None}
    facts = [
        {"name": name, "types": [topics.IMAGES[1]], "publishers": ["/driver"], "heard": silent}
        | {"subscribers": [], "incompatible": []}
        for name in ("/camera/image_raw/compressedDepth", "/front/overlay/compressed")
    ]
    assert not bad(topics.judge({"rmw": "x", "topics": facts}))
