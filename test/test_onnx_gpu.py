"""onnxruntime on a GPU: options, libraries, kept engines, and a session for each batch size."""

import fcntl
import re

import numpy as np
import onnxruntime
import pytest
from test_backends import OUT_OF_MEMORY

from emf_ros.io.paths import share_folder
from emf_ros.runtime import onnx_gpu
from emf_ros.runtime.device import BackendUnavailable
from emf_ros.runtime.onnx import CPU, CUDA, TENSORRT, make_session
from emf_ros.runtime.onnx_gpu import (
    GPU_PROVIDERS,
    BatchInput,
    SizedSessions,
    cuda_options,
    engine_folder,
    gpu_session,
    needed_tensorrt,
    tensorrt_options,
)

LITE = share_folder("models") / "lite.onnx"
GIVEN = BatchInput("keypoints", (27, 17, 3), "float32", (1, 2, 4, 8))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EMF_ROS_CACHE", str(tmp_path / "cache"))
    onnx_gpu._load_cuda.cache_clear()
    yield tmp_path / "cache"
    onnx_gpu._load_cuda.cache_clear()


class Gpu:
    """onnxruntime with its GPU providers, which run on the CPU here."""

    def __init__(self, monkeypatch):
        self.asked, self.errors, self.sessions = [], [], []
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
        monkeypatch.setattr(onnxruntime, "preload_dlls", lambda directory=None: None, raising=False)
        monkeypatch.setattr(onnx_gpu, "_tensorrt_version", lambda: 101301)
        monkeypatch.setattr(onnx_gpu, "make_session", self.make)

    def make(self, path, threads, providers):
        names = [p if isinstance(p, str) else p[0] for p in providers]
        self.asked.append(providers)
        if self.errors:
            raise RuntimeError(self.errors.pop(0))
        self.sessions.append(Session(make_session(path, threads), names))
        return self.sessions[-1]


class Session:
    """A session that remembers the sizes of its batches."""

    def __init__(self, session, providers):
        self._session, self._providers, self.sizes = session, providers, []

    def get_providers(self):
        return self._providers

    def run(self, outputs, given):
        self.sizes.append(len(given["keypoints"]))
        return self._session.run(outputs, given)


@pytest.fixture
def gpu(monkeypatch):
    return Gpu(monkeypatch)


def keypoints(batch):
    return np.random.default_rng(batch).normal(size=(batch, 27, 17, 3)).astype(np.float32)


# ------------------------------------------------------------------------------ batch sizes


def test_each_session_of_cuda_has_one_batch_size_for_ever(gpu):
    """Another size costs the session new plans for all of its convolutions."""
    sessions, exact = SizedSessions(CUDA, LITE, 1, GIVEN, print), make_session(LITE, 1)
    for people in (1, 3, 2, 8, 5, 1, 7):
        x = keypoints(people)
        answers = sessions.run(["positions", "log_scale"], {"keypoints": x})
        for mine, theirs in zip(answers, exact.run(None, {"keypoints": x}), strict=True):
            assert mine.shape == theirs.shape
            assert np.allclose(mine, theirs, rtol=0, atol=1e-5)
    assert [set(session.sizes) for session in gpu.sessions] == [{1}, {2}, {4}, {8}]


def test_tensorrt_has_one_session_for_all_sizes_which_all_run_before_the_first_image(gpu):
    SizedSessions(TENSORRT, LITE, 1, GIVEN, lambda text: None)
    (session,) = gpu.sessions
    assert session.sizes == [1, 2, 4, 8]


def test_first_pass_that_fails_is_an_error_of_the_start(gpu, monkeypatch):
    def fail(self, outputs, given):
        raise RuntimeError(OUT_OF_MEMORY[2])

    monkeypatch.setattr(Session, "run", fail)
    with pytest.raises(RuntimeError, match="Failed to allocate memory"):
        SizedSessions(CUDA, LITE, 1, GIVEN, print)


# ------------------------------------------------------------------------------ options


def test_each_provider_is_tried_alone_and_keeps_its_options(gpu):
    gpu_session(CUDA, LITE, 1, GIVEN, print)
    ((name, options), cpu) = gpu.asked[0]
    assert (name, cpu) == (CUDA, CPU) and options == cuda_options()
    gpu_session(TENSORRT, LITE, 1, GIVEN, lambda text: None)
    ((first, _), (second, of_cuda), cpu) = gpu.asked[1]
    assert (first, second, cpu) == (TENSORRT, CUDA, CPU) and of_cuda == cuda_options()


def test_options_of_tensorrt_are_as_its_binding_takes_them(tmp_path):
    options = tensorrt_options(GIVEN, tmp_path)
    assert all(value == "True" for name, value in options.items() if name.endswith("_enable"))
    # The types of the file decide: with this option the ends of the network would be half, too.
    assert "trt_fp16_enable" not in options
    assert options["trt_profile_min_shapes"] == "keypoints:1x27x17x3"
    assert options["trt_profile_opt_shapes"] == "keypoints:2x27x17x3"
    assert options["trt_profile_max_shapes"] == "keypoints:8x27x17x3"
    assert options["trt_engine_cache_path"] == str(tmp_path)
    assert not any("cache" in name for name in tensorrt_options(GIVEN, None))
    assert cuda_options(exact=True)["use_tf32"] == "0" and "use_tf32" not in cuda_options()


@pytest.mark.skipif(
    TENSORRT not in onnxruntime.get_available_providers(),
    reason="needs onnxruntime-gpu, not a GPU",
)
def test_onnxruntime_itself_takes_the_options_of_tensorrt(tmp_path):
    from onnxruntime.capi import onnxruntime_pybind11_state as binding

    def start(options):
        session = binding.InferenceSession(binding.SessionOptions(), str(LITE), True, False)
        session.initialize_session([TENSORRT, CPU], [options, {}], set())

    start(tensorrt_options(GIVEN, tmp_path))
    for wrong in ({"trt_engine_cache_enable": "1"}, {"trt_no_such_option": "True"}):
        with pytest.raises(Exception, match=re.escape(next(iter(wrong)))):
            start({**tensorrt_options(GIVEN, tmp_path), **wrong})


# ------------------------------------------------------------------------------ libraries


def test_provider_that_onnxruntime_is_built_without_is_a_reason(monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    for provider, name in GPU_PROVIDERS.items():
        with pytest.raises(BackendUnavailable, match=f"built without {name} "):
            gpu_session(provider, LITE, 1, GIVEN, print)


def test_provider_that_onnxruntime_leaves_out_is_not_taken_for_the_cpu(gpu, monkeypatch, capsys):
    """The reason is the library that is missing; onnxruntime only prints it."""
    monkeypatch.setattr(Session, "get_providers", lambda self: [CPU])

    def preload(directory=None):
        print("Failed to load libcudnn.so.9: cannot open shared object file")
        print("Please follow the instructions")

    monkeypatch.setattr(onnxruntime, "preload_dlls", preload, raising=False)
    with pytest.raises(BackendUnavailable, match=r"^Failed to load libcudnn\.so\.9: cannot open"):
        gpu_session(CUDA, LITE, 1, GIVEN, print)
    assert capsys.readouterr().out == ""
    onnx_gpu._load_cuda.cache_clear()
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda directory=None: None, raising=False)
    with pytest.raises(BackendUnavailable, match="did not start"):
        gpu_session(CUDA, LITE, 1, GIVEN, print)


def test_libraries_are_loaded_from_wherever_pip_installed_them(gpu, monkeypatch, tmp_path):
    for name in ("cudnn", "cublas"):
        (tmp_path / "elsewhere" / "nvidia" / name / "lib").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
    asked = []
    monkeypatch.setattr(
        onnxruntime, "preload_dlls", lambda directory=None: asked.append(directory), raising=False
    )
    gpu_session(CUDA, LITE, 1, GIVEN, print)
    for name in ("cudnn", "cublas"):
        assert str(tmp_path / "elsewhere" / "nvidia" / name / "lib") in asked
    assert asked[-1] is None
    # Once in a process: a load prints to stdout, which is replaced meanwhile.
    gpu_session(CUDA, LITE, 1, GIVEN, print)
    assert len(asked) == 3


def test_version_of_tensorrt_is_the_one_that_onnxruntime_links(tmp_path):
    with pytest.raises(BackendUnavailable, match="there is no .*providers_tensorrt"):
        needed_tensorrt(tmp_path)
    (tmp_path / "libonnxruntime_providers_tensorrt.so").write_bytes(b"\0libnvinfer.so.11\0")
    assert needed_tensorrt(tmp_path) == "libnvinfer.so.11"


def test_tensorrt_that_is_not_installed_is_named(gpu, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(onnx_gpu, "needed_tensorrt", lambda folder: "libnvinfer.so.no")
    with pytest.raises(
        BackendUnavailable, match=r"^libnvinfer\.so\.no: cannot open shared object file"
    ):
        onnx_gpu._tensorrt_version()


def test_onnxruntime_falls_back_neither_at_the_start_nor_in_a_pass(monkeypatch):
    made = {}

    def session(path, options, **more):
        made.update(more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    make_session(LITE, 1, [CUDA, CPU])
    assert made["enable_fallback"] == 0 and made["providers"] == [CUDA, CPU]


# ------------------------------------------------------------------------------ kept engines


def test_engine_is_kept_for_one_file_one_version_and_one_gpu(tmp_path, monkeypatch):
    other = tmp_path / "other.onnx"
    other.write_bytes(LITE.read_bytes() + b"\0")
    folders = [engine_folder(LITE, ("1.31.1", 101301)), engine_folder(other, ("1.31.1", 101301))]
    folders += [engine_folder(LITE, v) for v in (("1.32.0", 101301), ("1.31.1", 101400))]
    (tmp_path / "model").write_bytes(b"NVIDIA Jetson AGX Orin")
    monkeypatch.setattr(onnx_gpu, "_GPU_NAMES", (str(tmp_path / "mod*"),))
    folders.append(engine_folder(LITE, ("1.31.1", 101301)))
    assert len(set(folders)) == 5
    assert engine_folder(LITE, ("1.31.1", 101301)) == folders[-1]
    # The interrupt and the place of a GPU may differ after a restart.
    of_desktop = []
    for irq, kind in ((131, "RTX 4070"), (95, "RTX 4070"), (131, "RTX 4090")):
        text = (
            f"Model: \t\t NVIDIA GeForce {kind}\nIRQ:   \t\t {irq}\nBus Location: \t 0000:01:00.0\n"
        )
        (tmp_path / "model").write_text(text)
        of_desktop.append(engine_folder(LITE, ("1.31.1", 101301)))
    assert of_desktop[0] == of_desktop[1] != of_desktop[2]


def test_building_is_said_before_it_begins_and_not_where_an_engine_is_kept(gpu):
    said = []
    gpu_session(TENSORRT, LITE, 1, GIVEN, said.append)
    folder = engine_folder(LITE, (onnxruntime.__version__, 101301))
    ((_, options), *_) = gpu.asked[0]
    assert options["trt_engine_cache_path"] == str(folder) and folder.is_dir()
    assert said == ["TensorRT builds an engine for lite.onnx, which takes minutes, once"]
    (folder / "some.engine").touch()
    gpu_session(TENSORRT, LITE, 1, GIVEN, said.append)
    assert len(said) == 1


def test_kept_engine_that_cannot_be_read_is_built_again(gpu):
    folder, said = engine_folder(LITE, (onnxruntime.__version__, 101301)), []
    folder.mkdir(parents=True)
    (folder / "stale.engine").touch()
    gpu.errors = ["TensorRT EP could not deserialize engine from cache: stale.engine"]
    gpu_session(TENSORRT, LITE, 1, GIVEN, said.append)
    assert len(gpu.asked) == 2 and folder.is_dir() and not list(folder.iterdir())
    assert "cannot be read (TensorRT EP could not deserialize" in said[0]
    gpu.errors = ["Error Code 2: OutOfMemory"]
    with pytest.raises(RuntimeError, match="OutOfMemory"):
        gpu_session(TENSORRT, LITE, 1, GIVEN, said.append)


def test_no_other_process_builds_at_the_same_time(gpu, monkeypatch):
    lock = engine_folder(LITE, (onnxruntime.__version__, 101301)).with_suffix(".lock")

    def make(path, threads, providers):
        with lock.open("a") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return gpu.make(path, threads, providers)

    monkeypatch.setattr(onnx_gpu, "make_session", make)
    gpu_session(TENSORRT, LITE, 1, GIVEN, lambda text: None)
    with lock.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert len(gpu.asked) == 1


def test_cache_that_cannot_be_written_does_not_stop_tensorrt(gpu, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("EMF_ROS_CACHE", str(tmp_path / "file"))
    said = []
    gpu_session(TENSORRT, LITE, 1, GIVEN, said.append)
    ((_, options), *_) = gpu.asked[0]
    assert not any("cache" in name for name in options) and "cannot be written" in said[0]
