"""docs/bring-your-own.md as a program: its files, and the lines of its shells, in order."""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.flows.release_project import REPOSITORY

PAGE = REPOSITORY / "docs" / "bring-your-own.md"
STOPS = "  # exit status 1"


class Block(NamedTuple):
    """A fenced block: `path` is the file that it is, empty for lines of a shell."""

    path: str
    text: str

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


def blocks() -> list[Block]:
    """Every block of the page that says something to do."""
    found = re.findall(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert {language for language, _, _ in found} == {"sh", "python"}
    return [Block(path, text) for _, path, text in found]
