"""Configuration that wants to be run: tags of YAML, templates in what people write (fault 53)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.errors import SoundcheckError
from evalpacks.pack import load
from operations.candidate import read
from operations.settings import Settings
from pages.release import render
from tests.pages.release_examples import promoted


def _of_params(folder: Path) -> object:
    return Settings(folder, folder / "home").params


def _of_pack(folder: Path) -> object:
    (folder / "audio").mkdir()
    (folder / "utterances.parquet").touch()
    return load(folder)


READERS: list[tuple[str, Callable[[Path], object]]] = [
    ("candidate.yaml", lambda folder: read(folder, "asr-commands")),
    ("params.yaml", _of_params),
    ("pack.yaml", _of_pack),
]
TAGS = [
    "!!python/object/apply:os.mkdir ['{target}']",
    "!!python/object/new:os.mkdir ['{target}']",
    "!!python/name:os.system",
    "!!python/module:os",
]


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize(("name", "reader"), READERS, ids=[name for name, _ in READERS])
def test_a_tag_that_would_run_code_is_refused(
    name: str, reader: Callable[[Path], object], tag: str, tmp_path: Path
) -> None:
    target = tmp_path / "ran"
    (tmp_path / name).write_text(f"family: {tag.format(target=target)}\n")
    with pytest.raises(SoundcheckError, match=f"{name} does not parse") as raised:
        reader(tmp_path)
    assert raised.value.where.endswith(name)
    assert not target.exists()


def test_a_template_in_a_model_card_stays_text() -> None:
    card = "# A card\n\n{{ 6 * 7 }} {% include 'page.html.j2' %}\n"
    page = render(dataclasses.replace(promoted(), model_card=card))
    assert "{{ 6 * 7 }} {% include" in page
