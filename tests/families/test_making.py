"""What a family's make.py is given: recordings, packs and candidate folders, whole or not at all."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from contracts.digest import digest_of
from contracts.errors import Refused
from contracts.feature_contract import FeatureContract
from evalpacks.suites import MANIFEST_COLUMNS
from families.making import Clip, candidate, pack, training_data
from operations.candidate import Candidate, read
from speech.runtimes import load_model
from speech.weights import check_payload
from tests.flows.release_project import commit

PACKAGE, RATE_HZ = "families.door_bells", 16_000


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "params.yaml").write_text("families: {}\n")
    commit(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def clips(count: int = 3, level: float = 0.5) -> Iterator[Clip]:
    for number in range(count):
        samples = np.full(800, level, dtype=np.float32)
        yield Clip(f"clip-{number}", samples, "ding", f"bell-{number}", {"room": "hall"})


def make(version: str = "v1", content: bytes = b"{}", **fields: Any) -> Path:
    return candidate(
        PACKAGE, version, {"model.json": content}, rate_hz=RATE_HZ, about="A bell.", licence="MIT", **fields,
    )  # fmt: skip


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_candidate_folder_is_one_that_a_release_reads(project: Path) -> None:
    table = training_data("door-bells", "v1", clips(), RATE_HZ, licence="CC0-1.0")
    folder = project / make(training=table, seeds={"data": 1})
    described = read(folder, "door-bells")
    assert isinstance(described, Candidate)
    assert (described.version, described.origin, described.seeds) == ("v1", "own", {"data": 1})
    assert len(described.training_code_sha) == 40
    check_payload(folder / "payload")
    contract = FeatureContract.parse((folder / "payload" / "feature_contract.json").read_bytes())
    front_end = yaml.safe_load((folder / "payload" / "front_end.json").read_text())
    assert contract.front_end_checksum == digest_of(front_end)
    assert front_end == {"engine": PACKAGE, "sample_rate_hz": RATE_HZ}
    assert set(MANIFEST_COLUMNS) <= set(table.columns)
    assert (project / "data/corpus/door-bells/v1" / table["path"][0]).is_file()
    assert (folder / "MODEL_CARD.md").read_text() == "# door-bells v1\n\nA bell.\n"


def test_a_model_without_training_data_is_a_third_party_s(project: Path) -> None:
    folder = project / make(base_model="a vendor's")
    described = read(folder, "door-bells")
    assert (described.origin, described.base_model) == ("third_party", "a vendor's")
    assert not (folder / "data_manifest.parquet").exists()


def test_law_the_same_inputs_give_the_same_bytes(project: Path) -> None:
    first, second = (
        files(project / make(training=training_data("door-bells", "v1", clips(), RATE_HZ, licence="MIT")))
        for _ in range(2)
    )
    assert first == second


def test_a_payload_that_may_not_be_released_leaves_the_candidate_before_it(project: Path) -> None:
    before = files(project / make())
    with pytest.raises(Refused, match="a payload file can run code when it is loaded"):
        make(content=pickle.dumps({"weights": [1.0]}))
    assert files(project / "candidates/door-bells/v1") == before
    assert [path.name for path in (project / "candidates/door-bells").iterdir()] == ["v1"]


def test_code_that_is_in_no_commit_makes_no_candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    with pytest.raises(Refused) as refused:
        make()
    assert str(refused.value) == (
        "the code that makes the candidate is in no commit\n"
        f"  where: {elsewhere}\n"
        "  expected: a git work tree with a commit\n"
        "  next step: git init, git add, git commit, and make the candidate again"
    )


def test_a_pack_is_whole_and_its_sound_is_within_full_scale(project: Path) -> None:
    made = pack(
        "bells", clips(level=2.0), RATE_HZ, slices=["room"], protected=["room=hall"], source="tests", licence="MIT",
        consent="not needed: no person's voice",
    )  # fmt: skip
    assert (made.name, len(made.utterances), made.protected) == ("bells", 3, ("room=hall",))
    assert made.root == Path("data/packs/bells")
    assert set(made.utterances["language"]) == {"en"}


def test_a_pack_that_is_none_leaves_the_one_before_it(project: Path) -> None:
    rights = {"source": "tests", "licence": "MIT", "consent": "not needed: no person's voice"}
    before = pack("bells", clips(), RATE_HZ, **rights).digest
    with pytest.raises(Refused, match="names a protected slice"):
        pack("bells", clips(2), RATE_HZ, protected=["room=hall"], **rights)
    assert pack("bells", clips(), RATE_HZ, **rights).digest == before


def test_an_engine_that_is_not_there_is_named(project: Path) -> None:
    with pytest.raises(Refused, match="unknown engine") as refused:
        load_model(project / make() / "payload")
    assert refused.value.got == repr(PACKAGE)
    assert refused.value.next_step == "name one of these, or write the engine (docs/bring-your-own.md)"
