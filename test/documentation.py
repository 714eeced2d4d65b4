"""The pages of the documentation, and what stands in them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def tracked(*patterns: str) -> list[Path]:
    """The files of the repository that fit the patterns; all files where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True, check=False
    )
    names = [name for name in listed.stdout.split("\0") if name]
    found = [ROOT / name for name in names] or [
        path
        for pattern in patterns
        for path in ROOT.rglob(pattern)
        if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    ]
    return sorted(path for path in found if path.is_file())


PAGES = tracked("*.md")


def page_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def without_code(text: str) -> str:
    """The text of a page without fenced and indented blocks."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return "\n".join(line for line in text.splitlines() if not re.match(r" {4,}[^-*\d\s|]", line))


def spans(text: str) -> list[str]:
    """The inline code of a page."""
    return re.findall(r"`([^`\n]+)`", without_code(text))


def code_lines(text: str) -> list[str]:
    """The lines of a page's code blocks; continued lines are joined."""
    text = text.replace("\\\n", " ")
    fenced = re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^ {4,}(\S.*)$", text, re.MULTILINE)
    return [*(line for block in fenced for line in block.splitlines()), *indented]


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a page: rows of cells, the header first, without the rule under it."""
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE)
    rows = [
        [[cell.strip() for cell in row.strip("|").split(" | ")] for row in block.splitlines()]
        for block in blocks
    ]
    return [[row for row in table if set("".join(row)) - set("-:| ")] for table in rows]
