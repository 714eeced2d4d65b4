"""Downloads a package with its index's own client, and takes files out of its archive.

A client knows the user's mirrors, proxies and certificates. Packages are only opened as archives,
never installed, so that the Python and the processor of the machine do not matter. Each file is
checked against its SHA-256 before it enters the cache, and each time it is used. Without a network,
copy the cache folder (`paths.cache_folder`) from a machine that has it.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from ..io.paths import cache_folder
from .cache import DownloadError, file_sha256, write_atomically
from .manifest import BLAZEPOSE_FOLDER, FILES, Member, Package

#: Maximum time of one download, s.
DOWNLOAD_TIMEOUT_S = 1800
#: Maximum length of the cause that is quoted from a client's output, characters.
MAX_CAUSE_LENGTH = 300


def ensure_file(name: str) -> Path:
    """Path of a file in the cache; it is downloaded unless it is there and undamaged.

    Args:
        name: path in the cache folder, one of `manifest.FILES`.

    Raises:
        DownloadError: the file is not available.
    """
    package, wanted = FILES[name]
    cache = cache_folder()
    if file_sha256(cache / name) == wanted.sha256:
        return cache / name
    # All files of the package are taken at once: it would be downloaded again for the next one.
    missing = {p: m for p, m in package.files.items() if file_sha256(cache / p) != m.sha256}
    with tempfile.TemporaryDirectory(prefix="emf_ros_") as folder:
        archive = _download(package, Path(folder))
        for path, data in _read_members(archive, missing).items():
            if hashlib.sha256(data).hexdigest() != missing[path].sha256:
                raise DownloadError(
                    f"{missing[path].path} of {package.requirement} is another file than expected "
                    "(its SHA-256 differs). Report this: the two pinned hashes contradict."
                )
            write_atomically(cache / path, data)
    return cache / name


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
    """Download a package into a folder, and return the path of its archive."""
    command, without_cache = _client_command(package, folder)
    size = f"{package.size_mb} MB"
    print(f"fetching {package.requirement} ({size}) ...", file=sys.stderr, flush=True)
    # The client's own cache may hold a damaged copy: the second attempt leaves it out.
    for extra in ([], without_cache):
        for old in _archives_in(folder):
            old.unlink()
        try:
            done = subprocess.run(
                [*command, *extra, package.requirement],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=DOWNLOAD_TIMEOUT_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DownloadError(_advice(package, str(error))) from error
        archives = _archives_in(folder)
        if done.returncode or not archives:
            raise DownloadError(_advice(package, done.stderr))
        if file_sha256(archives[0]) == package.sha256:
            return archives[0]
    raise DownloadError(
        f"The download of {package.requirement} gave another file than expected (its SHA-256 "
        f"differs), twice. Check the package mirror or proxy that {package.client} uses "
        f"({package.client} config list)."
    )


def _archives_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in (".whl", ".tgz"))


def _client_command(package: Package, folder: Path) -> tuple[list[str], list[str]]:
    """The command that downloads a package, without its name, and the option that skips the
    client's own cache."""
    if package.client == "pip":
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
        command += ["--disable-pip-version-check", "--only-binary", ":all:", "--dest", str(folder)]
        return [*command, *package.options], ["--no-cache-dir"]
    npm = shutil.which("npm")
    if npm is None:
        raise DownloadError(_advice(package, "npm: command not found"))
    command = [npm, "pack", "--loglevel=error", f"--pack-destination={folder}", *package.options]
    return command, [f"--cache={folder / 'npm_cache'}"]


def _advice(package: Package, output: str) -> str:
    """Say in a few lines why a download failed, and what to do about it."""
    client = package.client
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if client == "pip":
        causes = [x for x in lines if x.startswith("ERROR") or "No module named pip" in x][-1:]
    else:
        # npm begins with codes of one word, and ends with traces and the name of its log.
        causes = [x for x in lines if len(x.split()) > 4]
    cause = (causes or lines or [f"{client} gave no reason"])[0][:MAX_CAUSE_LENGTH]
    if "No module named pip" in cause:
        remedy = f"Install pip for this Python: {sys.executable} -m ensurepip"
    elif "npm: command not found" in cause:
        remedy = "Install npm, which downloads it (Debian, Ubuntu: sudo apt install npm)."
    elif "No space left" in output or "ENOSPC" in output:
        remedy = f"Free {3 * package.size_mb} MB in {tempfile.gettempdir()}."
    else:
        remedy = (
            f"Check the network, and the proxy or mirror that {client} uses ({client} config list)."
            f" Without a network, copy the folder {cache_folder()} from a machine that has it."
        )
    index = "PyPI" if client == "pip" else "npm"
    advice = [f"Could not download {package.requirement} from {index}.", remedy]
    if package.alternative:
        folder = cache_folder() / BLAZEPOSE_FOLDER
        advice.append(package.alternative.format(blazepose_folder=folder))
    return "\n".join([*advice, f"{client} said: {cause}"])
