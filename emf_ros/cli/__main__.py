"""`python -m emf_ros.cli` is the command `emf-ros`."""

import sys

from .main import main

sys.exit(main())
