"""docs/bring-your-own.md as a program: its files, and the lines of its shells, run in order in a clone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.families.checkout import patient, shell
from tests.flows.release_project import REPOSITORY

PAGE = REPOSITORY / "docs" / "bring-your-own.md"
STAGED = Path(__file__).with_name("staged.py")
STOPS = "  # exit status 1"
NEEDS_SERVERS = re.compile(r"soundcheck (up|traffic|status)\b")
RELEASE = re.compile(r"soundcheck release (\S+) --candidate (\S+)")


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


def follow(root: Path, *, timeout_s: float) -> Iterator[tuple[str, str]]:
    """Do what the page says, a block or a line at a time; each line with what it said on stderr.

    Releases go as far as their staged replay (staged.py). A line whose exit status is another than the page says is an
    AssertionError.
    """
    for block in blocks():
        if block.path:
            assert (root / block.path).is_file(), f"`family new` wrote no {block.path}"
            (root / block.path).write_text(block.text)
            continue
        for line in block.lines:
            if NEEDS_SERVERS.match(line):
                continue
            done = shell(root, RELEASE.sub(rf"python {STAGED} \1 \2", line), timeout_s=timeout_s)
            assert done.returncode == int(line.endswith(STOPS)), (line, done.stderr)
            if "--write-params" in line:
                patient(root)
            yield line, done.stderr
