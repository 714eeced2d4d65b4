"""The error of a bag that cannot be read."""

from __future__ import annotations


class BagError(RuntimeError):
    """A bag that cannot be read; one line with its name, the reason and the remedy."""
