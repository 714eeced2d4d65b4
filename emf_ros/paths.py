"""Where the package's own files lie."""

from __future__ import annotations

from pathlib import Path


def share_folder(name: str) -> Path:
    """A folder of the repository's top level: in the checkout, or where ament installed it.

    Args:
        name: 'models', 'config' or 'launch'.
    """
    beside = Path(__file__).resolve().parents[1] / name
    if beside.is_dir():
        return beside
    try:
        from ament_index_python.packages import get_package_share_directory

        return Path(get_package_share_directory("emf_ros")) / name
    except (ImportError, LookupError):
        return beside
