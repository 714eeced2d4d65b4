"""The version number: package.xml holds it, and everything else reads it from there."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import emf_ros

ROOT = Path(__file__).resolve().parents[1]


def version_in(package_xml: Path) -> str:
    version = ElementTree.parse(package_xml).findtext("version")
    assert version
    return version


def test_both_packages_have_the_same_version():
    assert version_in(ROOT / "package.xml") == version_in(ROOT / "emf_ros_msgs" / "package.xml")


def test_python_package_reads_its_version_from_package_xml():
    assert emf_ros.__version__ == version_in(ROOT / "package.xml")


def test_installation_reads_its_version_from_package_xml():
    command = [sys.executable, "setup.py", "--version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == version_in(ROOT / "package.xml")
