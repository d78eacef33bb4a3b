"""README and the documents are true: commands and options exist, and every document is named."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from flows.cli import soundcheck

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE = re.compile(r"`(soundcheck [^`\n]+)`|^ *(?:\$ )?(soundcheck [^\n#]+)", re.MULTILINE)


def _written(page: Path) -> list[str]:
    """Command lines in code spans, and at the beginning of lines of code."""
    inside = "\n".join(re.findall(r"```.*?```|`soundcheck[^`]*`|^ {4}soundcheck.*$", page.read_text(), re.S | re.M))
    return [" ".join((span or line).split()) for span, line in CODE.findall(inside)]


def _options(line: str) -> tuple[click.Command, list[str]]:
    """The command that a line calls, and the options that it is given; AssertionError names what does not exist."""
    command: click.Command = soundcheck
    words = line.replace("[", "").replace("]", "").split()[1:]
    while isinstance(command, click.Group) and words and not words[0].startswith(("-", "...")):
        found = command.get_command(click.Context(command), words.pop(0).strip(",.;:"))
        assert found is not None, line
        command = found
    return command, [word.split("=")[0] for word in words if word.startswith("--")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_and_options_exist(page: Path) -> None:
    for line in _written(page):
        command, options = _options(line)
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        assert set(options) <= known | {"--help"}, line


def test_the_search_sees_commands_in_readme() -> None:
    lines = _written(ROOT / "README.md")
    assert len(lines) > 20
    assert "soundcheck up" in lines
    assert any("--evidence" in line for line in lines)


def test_readme_names_every_document() -> None:
    said = (ROOT / "README.md").read_text()
    documents = [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")]
    assert [name for name in documents if f"`{name}`" not in said] == []
