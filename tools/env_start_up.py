"""Lets the Python of the environment find ROS 2 and emf_ros_msgs, with nothing sourced.

`setup_env.py` copies this file into the environment, beside a module with the search paths;
`emf_ros_env.pth` imports it each time the interpreter starts. ROS reads environment variables, and
the loader reads LD_LIBRARY_PATH before Python runs. Where that changes, the interpreter starts once
more with the same arguments, in the same process. Child processes inherit the variables.
"""

import os
import sys

import _emf_ros_paths


def apply():
    """Add the missing search paths to the environment variables."""
    restart = False
    for variable, folders in _emf_ros_paths.PATHS.items():
        present = [part for part in os.environ.get(variable, "").split(os.pathsep) if part]
        missing = [folder for folder in folders if folder not in present]
        if missing:
            os.environ[variable] = os.pathsep.join(missing + present)
            restart = restart or variable in ("LD_LIBRARY_PATH", "PYTHONPATH")
    for name, value in _emf_ros_paths.NAMES.items():
        os.environ.setdefault(name, value)
    if not restart:
        return
    # The ROS wheels restart Python themselves, unless another environment did so already.
    os.environ.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)
    if _emf_ros_paths.RESTART:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ)


if sys.executable and not sys.flags.ignore_environment:
    apply()
