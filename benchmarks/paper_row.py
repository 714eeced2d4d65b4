"""One row of the table of the paper's claims."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Row:
    section: str
    claim: str
    paper: str
    measured: str
