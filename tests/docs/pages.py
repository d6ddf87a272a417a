"""The pages of the documentation, README included, and their code blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SNIPPETS = ROOT / "docs" / "snippets"
_BLOCK = re.compile(r"^( *)(`{3,})([^\n`]*)\n(.*?)^\1\2 *$", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    """Return all pages."""
    built = ROOT / "docs" / "_build"
    written = (path for path in (ROOT / "docs").rglob("*.md") if built not in path.parents)
    return [ROOT / "README.md", ROOT / "sandbox" / "README.md", *sorted(written)]


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the code blocks of a page: what stands behind the backquotes, and the text.

    :param page: the page
    """
    for indent, _, info, text in _BLOCK.findall(page.read_text()):
        yield info.strip(), "".join(line.removeprefix(indent) for line in text.splitlines(keepends=True))


def commands() -> Iterator[tuple[Path, str]]:
    """Yield the commands that readers are told to type, with their pages."""
    for page in pages():
        for info, text in blocks(page):
            if info == "console":
                yield from ((page, line.removeprefix("$ ").partition("  # ")[0].strip()) for line in text.splitlines())
