"""What drift proposes for packs as files: each fits its place, is a blob, and goes when it is proposed no longer."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from contracts.drift import DriftSettings, Uncovered
from contracts.errors import WrongCall
from evalpacks.pack import PackMeta
from operations.drift_change import Change, Proposed, propose, write
from operations.incident_check import CHECKS, check
from tests.operations.gated_releases import FAMILY
from tests.operations.tiny_family import TinyFamily

SETTINGS = DriftSettings()


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> TinyFamily:
    return TinyFamily(tmp_path_factory.mktemp("change") / "project")


def lacks(column: str, value: str, share: float, has: int = 0) -> Uncovered:
    return Uncovered(column=column, value=value, traffic_share=share, pack_share=0.0, pack_utterances=has)


def proposed(family: TinyFamily, *lacking: Uncovered) -> dict[str, Change]:
    return {one.ready.name: one for one in propose(family.context, FAMILY, lacking, SETTINGS)}


FILES: dict[str, tuple[tuple[Uncovered, ...], set[str]]] = {
    "a slice": ((lacks("language", "cy", 0.05),), {"fixtures.yaml", "pack.slice.yaml"}),
    "a pack": ((lacks("language", "cy", 0.2),), {"fixtures.yaml", "pack.yaml"}),
    "both": (
        (lacks("language", "cy", 0.2), lacks("device", "car", 0.03)), {"fixtures.yaml", "pack.slice.yaml", "pack.yaml"}
    ),
    "what is measured is no slice": ((lacks("duration", "1.5-2s", 0.05),), {"fixtures.yaml"}),
    "another rate": ((lacks("rate", "48000", 0.4),), {"fixtures.yaml", "pack.yaml"}),
    "nothing": ((), set()),
    "no name of a slice": ((lacks("tenant", "Anna's phone", 0.2),), set()),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_which_files_are_ready(family: TinyFamily, name: str) -> None:
    lacking, names = FILES[name]
    found = proposed(family, *lacking)
    assert set(found) == names
    for one in found.values():
        check(family.context, Proposed(FAMILY), one.ready.name, one.text)
        assert family.context.store.read_blob(one.ready.change) == one.text.encode()
        assert one.text.splitlines()[:2] == [f"# what drift proposes for {FAMILY}", f"# belongs into {one.ready.place}"]


def test_fixtures_name_how_many_are_missing(family: TinyFamily) -> None:
    found = proposed(family, lacks("language", "cy", 0.05, has=12), lacks("device", "car", 0.03))
    orders = yaml.safe_load(found["fixtures.yaml"].text)["fixtures"]
    assert [(one["slice"], one["count"]) for one in orders] == [("language=cy", 18), ("device=car", 30)]
    lists = yaml.safe_load(found["pack.slice.yaml"].text)
    assert lists["slices"] == ["language", "device"]
    assert lists["protected"] == ["language=cy", "device=car"]


def test_the_card_of_a_new_pack_is_of_what_it_is_for(family: TinyFamily) -> None:
    found = proposed(family, lacks("language", "cy", 0.2), lacks("rate", "8000", 0.3))
    card = PackMeta.model_validate(yaml.safe_load(found["pack.yaml"].text))
    assert card.name == f"{FAMILY}-language-cy-rate-8000"
    assert (card.languages, card.sample_rate_hz) == (("cy",), (8000,))
    assert (card.slices, card.protected) == (("language",), ("language=cy",))
    assert found["pack.yaml"].ready.place.startswith(f"data/packs/{card.name}/pack.yaml")


def test_a_card_that_is_none_is_refused_before_anything_is_written(family: TinyFamily) -> None:
    with pytest.raises(WrongCall, match="a change does not fit the place that it is for") as caught:
        check(family.context, Proposed(FAMILY), "pack.yaml", "name: Not A Name\n")
    assert str(caught.value.where).startswith("pack.yaml: ")
    assert "pack.yaml" in CHECKS


def test_the_folder_holds_what_is_proposed_now_and_nothing_else(family: TinyFamily, tmp_path: Path) -> None:
    folder = tmp_path / "change"
    write(folder, [])
    assert not folder.exists()
    write(folder, list(proposed(family, *FILES["both"][0]).values()))
    assert {path.name for path in folder.iterdir()} == FILES["both"][1]
    slices = proposed(family, *FILES["a slice"][0])
    write(folder, list(slices.values()))
    assert {path.name: path.read_text() for path in folder.iterdir()} == {k: one.text for k, one in slices.items()}
    write(folder, [])
    assert list(folder.iterdir()) == []
