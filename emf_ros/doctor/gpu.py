"""Checks of the GPU: driver, JetPack, and the providers of onnxruntime that really run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ..io.paths import cache_folder
from ..runtime.device import gpu_present
from .own_process import run_module
from .result import Result, error, ok, warning

#: Maximum time of a tool of the driver, s.
TOOL_TIMEOUT_S = 20.0

#: Maximum time of one provider, s. TensorRT compiles its first engine for a minute.
PROVIDER_TIMEOUT_S = 180.0

#: JetPack of each major release of Jetson Linux.
JETPACKS = {32: "4", 34: "5", 35: "5", 36: "6", 38: "7", 39: "7"}

#: Oldest JetPack whose Python is new enough.
MIN_JETPACK = 6

#: What to install for a missing library, by the beginning of its name.
_LIBRARIES = {
    "libnvinfer": "pip install 'tensorrt-cu12<11' (CUDA 13: 'tensorrt-cu13<11')",
    "libnvonnxparser": "pip install 'tensorrt-cu12<11' (CUDA 13: 'tensorrt-cu13<11')",
    "libcu": "pip install 'onnxruntime-gpu[cuda,cudnn]'",
    "libnv": "pip install 'onnxruntime-gpu[cuda,cudnn]'",
}


def driver(
    present: bool | None = None,
    version_file: Path = Path("/proc/driver/nvidia/version"),
    tool: str = "nvidia-smi",
) -> list[Result]:
    """The GPU and its driver.

    Args:
        present: whether there is a GPU; None: look.
        version_file: which the driver of a desktop GPU makes.
        tool: that lists desktop GPUs.
    """
    if not (gpu_present() if present is None else present):
        if version_file.is_file():
            return [
                warning(
                    "GPU",
                    "the NVIDIA driver runs, but this container sees no GPU",
                    "start it with docker run --gpus all (Jetson: --runtime nvidia)",
                )
            ]
        return [ok("GPU", "no CUDA GPU: networks run on the CPU")]
    if shutil.which(tool) is None:
        return [ok("GPU", f"there is one; {tool}, which describes it, is not installed")]
    query = [tool, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        asked = subprocess.run(query, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as failure:
        return [error("GPU", f"{tool} fails: {failure}", "install the NVIDIA driver again")]
    if asked.returncode:
        said = " ".join((asked.stdout + asked.stderr).split())[:200]
        return [error("GPU", f"{tool} fails: {said}", "reboot, or install the NVIDIA driver again")]
    return [ok("GPU", "; ".join(line.strip() for line in asked.stdout.splitlines() if line))]


def jetpack(release_file: Path = Path("/etc/nv_tegra_release")) -> list[Result]:
    """The JetPack of a Jetson, and its power mode.

    Args:
        release_file: in which Jetson Linux has its release.
    """
    try:
        text = release_file.read_text(errors="replace")
    except OSError:
        return []
    found = re.search(r"R(\d+).*?REVISION:\s*([\d.]+)", text)
    if not found:
        return [
            warning("JetPack", f"{release_file} has no release", "compare dpkg -l nvidia-l4t-core")
        ]
    release = f"Jetson Linux {found[1]}.{found[2]}"
    number = JETPACKS.get(int(found[1]))
    if number is None:
        return [ok("JetPack", release)]
    if int(number) < MIN_JETPACK:
        return [
            error(
                "JetPack",
                f"JetPack {number} ({release}) has a Python that is too old",
                "install JetPack 6 or later, or see docs/use/gpu.md",
            )
        ]
    return [ok("JetPack", f"JetPack {number} ({release}){_power_mode()}")]


def _power_mode() -> str:
    """The power mode as a part of a sentence; empty where it is unknown."""
    try:
        asked = subprocess.run(
            ["nvpmodel", "-q"], capture_output=True, text=True, timeout=TOOL_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"NV Power Mode:\s*(\S+)", asked.stdout)
    return f", power mode {found[1]}" if found else ""


def providers(available: Sequence[str] | None = None, present: bool | None = None) -> list[Result]:
    """Each provider that onnxruntime offers runs a tiny network.

    Args:
        available: names of the providers; None: those of the installed onnxruntime.
        present: whether there is a GPU; None: look.
    """
    present = gpu_present() if present is None else present
    try:
        from ..runtime.onnx import CPU, CUDA, TENSORRT  # imports numpy

        import onnxruntime  # isort: skip
    except Exception:  # reported by `packages`
        return []
    offered = onnxruntime.get_available_providers() if available is None else available
    # Without a GPU those of GPUs cannot start, which is no fault.
    wanted = [CPU, *((CUDA, TENSORRT) if present else ())]
    results = [_provider(name) for name in wanted if name in offered]
    if CPU not in offered:
        results.append(
            error(
                "onnxruntime",
                "it has no provider for the CPU",
                f"{sys.executable} -m pip install --force-reinstall onnxruntime",
            )
        )
    if present and CUDA not in offered:
        results.append(
            warning(
                "onnxruntime",
                f"there is a GPU, but onnxruntime {onnxruntime.__version__} is built without CUDA",
                "pip uninstall -y onnxruntime; pip install onnxruntime-gpu (Jetson: "
                "docs/use/gpu.md)",
            )
        )
    return results


def _provider(name: str) -> Result:
    ended = run_module("doctor.provider", name, timeout_s=PROVIDER_TIMEOUT_S)
    short = name.removesuffix("ExecutionProvider")
    check = f"onnxruntime {short}"
    if ended.code == 0:
        return ok(check, "runs a network")
    missing = re.search(r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object", ended.errors)
    if missing:
        remedy = next(
            (text for start, text in _LIBRARIES.items() if missing[1].startswith(start)),
            f"install the package that has {missing[1]}",
        )
        return error(check, f"does not start: {missing[1]} is missing", remedy)
    remedy = (
        f"{sys.executable} -m pip install --force-reinstall onnxruntime"
        if short == "CPU"
        else "compare the CUDA and cuDNN that this onnxruntime needs with the driver's, at "
        "onnxruntime.ai"
    )
    return error(check, f"does not run a network: {ended.reason}", remedy)


def engine_cache(folder: Path | None = None) -> list[Result]:
    """The folder of downloads and of TensorRT's engines can be written.

    Args:
        folder: the cache; None: the user's.
    """
    folder = cache_folder() if folder is None else folder
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        return [
            error(
                "cache",
                f"{folder} cannot be written: weights and engines are made again at each start",
                "set EMF_ROS_CACHE to a folder that can be written",
            )
        ]
    engines = list(folder.glob("tensorrt/*/*.engine"))
    size = sum(path.stat().st_size for path in engines)
    about = f", {len(engines)} TensorRT engines, {size / 1e6:.0f} MB" if engines else ""
    return [ok("cache", f"{folder}{about}")]
