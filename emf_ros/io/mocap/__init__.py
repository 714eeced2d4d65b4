"""Skeletons of motion capture: files of joints, their names, units and axes, to h36m17.

The import of motion capture for training and the reading of recordings share it.
"""

#: The commands whose options name what a file does not tell.
OPTIONS_OF = "of emf-ros convert or emf-ros mocap import"


class FormatError(ValueError):
    """A motion capture file that cannot be read, or that does not show a person."""
