"""Indexes of voiceprints: what is found, what is refused, what readers see while one is written, what is damaged."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import Corrupt, NotFound, Refused
from contracts.migration import Space
from registry import vector_index
from registry.vector_index import Match, Vector, VectorIndex

SPACE, OTHER = Space(name="a-4", dimension=4), Space(name="b-3", dimension=3)
BUNDLE, NEXT = "1" * 64, "2" * 64


def unit(*values: float) -> Vector:
    vector = np.array(values, dtype=np.float32)
    scaled: Vector = vector / np.linalg.norm(vector)
    return scaled


ANNA, BEN = unit(1, 0, 0, 0), unit(0, 1, 1, 0)


@pytest.fixture
def index(tmp_path: Path) -> VectorIndex:
    made = vector_index.create(tmp_path, SPACE, bundle=BUNDLE)
    made.put({"anna": ANNA, "ben": BEN}, space="a-4")
    return made


def test_the_nearest_are_found_best_first_here_and_after_reading_again(index: VectorIndex, tmp_path: Path) -> None:
    query = unit(1, 0.1, 0, 0)
    for one in (index, vector_index.read(tmp_path, "a-4")):
        found = one.search(query, space="a-4", count=5)
        assert [match.key for match in found] == ["anna", "ben"]
        assert [match.score for match in found] == pytest.approx([float(query @ ANNA), float(query @ BEN)])


def test_an_empty_index_finds_nobody(tmp_path: Path) -> None:
    assert vector_index.create(tmp_path, SPACE, bundle=BUNDLE).search(ANNA, space="a-4", count=3) == []


def test_a_key_that_is_put_again_is_replaced_and_the_writer_is_named(index: VectorIndex, tmp_path: Path) -> None:
    index.put({"anna": BEN}, space="a-4", bundle=NEXT)
    again = vector_index.read(tmp_path, "a-4")
    assert again.card.bundle == NEXT
    assert sorted(again.card.keys) == ["anna", "ben"]
    assert [match.score for match in again.search(BEN, space="a-4", count=2)] == pytest.approx([1, 1])
    assert len(list((tmp_path / "a-4").glob("vectors-*.faiss"))) == 1


@pytest.mark.parametrize(
    ("vector", "space", "what", "got"),
    [
        (ANNA, "b-3", "vectors of different spaces are never compared", "b-3"),
        (unit(1, 0, 0), "a-4", "a vector is not of the index's form", "3 components, length 1"),
        (ANNA * 2, "a-4", "a vector is not of the index's form", "4 components, length 2"),
        (ANNA * np.nan, "a-4", "a vector is not of the index's form", "4 components, length nan"),
    ],
)
def test_strangers_are_refused_by_searches_and_by_writes(
    index: VectorIndex, vector: Vector, space: str, what: str, got: str
) -> None:
    for call in (lambda: index.search(vector, space=space, count=1), lambda: index.put({"cleo": vector}, space=space)):
        with pytest.raises(Refused, match=what) as refusal:
            call()
        assert refusal.value.got == got
    assert sorted(index.card.keys) == ["anna", "ben"]


def test_a_space_keeps_its_dimension(index: VectorIndex, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="a vector space has one dimension") as refusal:
        vector_index.create(tmp_path, Space(name="a-4", dimension=5), bundle=BUNDLE)
    assert (refusal.value.got, refusal.value.expected) == ("5", "4")


def test_a_space_without_an_index_names_those_that_have_one(index: VectorIndex, tmp_path: Path) -> None:
    vector_index.create(tmp_path, OTHER, bundle=BUNDLE)
    assert vector_index.spaces(tmp_path) == ["a-4", "b-3"]
    with pytest.raises(NotFound, match="there is no index of this vector space") as refusal:
        vector_index.read(tmp_path, "c-2")
    assert refusal.value.expected == "a-4 or b-3"


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_damaged_vectors_are_corrupt(index: VectorIndex, tmp_path: Path, damage: object) -> None:
    (path,) = (tmp_path / "a-4").glob("vectors-*.faiss")
    damage(path)  # type: ignore[operator]
    with pytest.raises(Corrupt, match="the vectors of an index are not what its card says"):
        vector_index.read(tmp_path, "a-4")


def test_a_writer_that_dies_before_the_card_has_written_nothing(
    index: VectorIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []

    def replace_once(path: Path, content: bytes, *, scratch: Path, mode: int) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(path)
        path.write_bytes(content)

    monkeypatch.setattr(vector_index, "replace_file", replace_once)
    with pytest.raises(KeyboardInterrupt):
        index.put({"cleo": unit(0, 0, 0, 1)}, space="a-4")
    assert sorted(vector_index.read(tmp_path, "a-4").card.keys) == ["anna", "ben"] == sorted(index.card.keys)


def test_a_shim_leads_from_one_space_to_the_other(index: VectorIndex, tmp_path: Path) -> None:
    matrix = np.zeros((4, 3), np.float32)
    matrix[0, 2] = 5.0
    vector_index.keep_shim(tmp_path, "b-3", "a-4", matrix)
    mapped = vector_index.shimmed(tmp_path, unit(0, 0, 1), source="b-3", target="a-4")
    assert index.search(mapped, space="a-4", count=1) == [Match("anna", 1.0)]
    with pytest.raises(NotFound, match="no shim leads from one vector space to the other") as refusal:
        vector_index.shimmed(tmp_path, unit(0, 0, 1), source="c-3", target="a-4")
    assert refusal.value.got == "c-3 to a-4"


def test_two_writers_take_turns(tmp_path: Path) -> None:
    """Each opens the lock file itself, as another process does; a fork of this one would copy its threads' locks."""
    turns: list[str] = []

    def second() -> None:
        with vector_index.writing(tmp_path):
            turns.append("second")

    with vector_index.writing(tmp_path):
        other = threading.Thread(target=second)
        other.start()
        other.join(0.3)
        turns.append("first")
    other.join(30)
    assert turns == ["first", "second"]


Keys = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2**16), max_size=6)


@given(puts=st.lists(Keys, max_size=4))
@settings(deadline=None, max_examples=25)
def test_law_an_index_is_the_last_vector_of_every_key(
    tmp_path_factory: pytest.TempPathFactory, puts: list[dict[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("index")
    index, model = vector_index.create(folder, SPACE, bundle=BUNDLE), dict[str, Vector]()
    for seeds in puts:
        made = {key: unit(*np.random.default_rng(seed).standard_normal(4)) for key, seed in seeds.items()}
        index.put(made, space="a-4")
        model |= made
    again = vector_index.read(folder, "a-4")
    assert again.card.keys.keys() == model.keys()
    for key, vector in model.items():
        best = again.search(vector, space="a-4", count=len(model))
        assert best[0].score == pytest.approx(1.0, abs=1e-5)
        assert {match.key for match in best} == model.keys()
        assert max(match.score for match in best if match.key == key) == pytest.approx(1.0, abs=1e-5)
