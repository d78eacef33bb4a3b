"""What `soundcheck pack build` can make: each with a line in its help, a card, and a stage in a DVC pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from evalpacks.packs.english_human.build import WIDEBAND_CARD
from evalpacks.packs.robustness.build import COMMANDS_CARD
from flows.commands.materials import pack
from operations.packs import BUILDERS

ROOT = Path(__file__).parents[2]


def stages() -> dict[str, dict[str, Any]]:
    """Pack -> its stage in the pipeline of packs, with the pack's own values filled in."""
    groups = yaml.safe_load((ROOT / "evalpacks/packs/dvc.yaml").read_text())["stages"].values()
    filled = {}
    for group in groups:
        for name, item in group["foreach"].items():
            text = yaml.safe_dump(group["do"]).replace("${key}", name).replace("${item.folder}", item["folder"])
            filled[name] = yaml.safe_load(text)
    return filled


def test_help_lists_every_pack() -> None:
    shown = CliRunner().invoke(pack, ["build", "--help"])
    assert shown.exit_code == 0
    lines = [line.split()[0] for line in shown.output.partition("Packs:")[2].splitlines() if line.startswith("  ")]
    assert [name for name in BUILDERS if name not in lines] == []


@pytest.mark.parametrize("words", [[], ["entities", "--all"]])
def test_a_call_without_or_with_both_is_a_wrong_one(words: list[str]) -> None:
    outcome = CliRunner().invoke(pack, ["build", *words])
    assert outcome.exit_code == 2
    assert "Name the packs to build, or say --all." in outcome.output


def test_every_pack_has_a_card_with_its_name() -> None:
    cards = {
        yaml.safe_load(path.read_text(encoding="utf-8"))["name"] for path in ROOT.glob("evalpacks/packs/*/pack.yaml")
    }
    assert cards | {WIDEBAND_CARD["name"], COMMANDS_CARD["name"]} == set(BUILDERS)


def test_every_pack_has_a_stage_that_builds_it() -> None:
    training = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert "data/packs/commands" in training["pack"]["outs"]
    found = stages()
    assert {"commands", *found} == set(BUILDERS)
    for name, stage in found.items():
        assert stage["cmd"] == f"soundcheck pack build {name}"
        assert stage["outs"] == [f"data/packs/{name}"]
        assert [path for path in stage["deps"] if not (ROOT / path).exists()] == []
