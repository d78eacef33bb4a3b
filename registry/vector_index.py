"""Indexes of voiceprints, one a vector space: FAISS for the search, files that are replaced whole.

    FOLDER/SPACE/index.json             IndexCard: the space, the bundle that writes it, keys, digest of the vectors
    FOLDER/SPACE/vectors-DIGEST.faiss   IndexIDMap over IndexFlatIP: exact search by scalar product
    FOLDER/SPACE/shim-from-OTHER.npy    a linear map of vectors of another space into this one

Boundary: reads and writes below the folder of one family; no model, no clock.
Invariants: vectors have the length 1 and are of the index's own space, others are refused and never compared; readers
see the old or the new index, never a part of one; vectors that are not what the card's digest says are Corrupt; one
writer at a time (a lock file).
Source: coverage row 15; Johnson, Douze and Jégou 2019, "Billion-scale similarity search with GPUs" (FAISS).
"""

from __future__ import annotations

import fcntl
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.digest import Digest, sha256_bytes, short
from contracts.document import Document
from contracts.errors import Corrupt, NotFound, Refused
from contracts.migration import Space
from registry.store.files import disk, replace_file

if TYPE_CHECKING:
    import faiss

Vector = npt.NDArray[np.float32]

_CARD = "index.json"
_LENGTH_TOLERANCE = 1e-3


class IndexCard(Document):
    """What an index is: its space, the bundle whose model made its vectors, key -> FAISS id, digest of its vectors."""

    KIND: ClassVar[str] = "vector_index"

    space: Space
    bundle: Digest
    keys: dict[str, int] = {}
    vectors: Digest | None = None
    """None: nothing was put into it yet."""


class Match(NamedTuple):
    """A voiceprint that was found: its key, and the scalar product with what was searched for."""

    key: str
    score: float


class VectorIndex:
    """The index of one space as it was when it was opened; `put` replaces it on disk, and here."""

    def __init__(self, folder: Path, card: IndexCard, index: faiss.Index) -> None:
        self._folder = folder
        self._index = index
        self.card = card

    def put(self, entries: Mapping[str, Vector], *, space: str, bundle: Digest | None = None) -> None:
        """Add voiceprints by key, or replace those that are there; all of them or none.

        `space` is where the vectors come from, `bundle` whose model made them where that is another than before.
        Raises Refused for vectors of another space, dimension or length than 1.
        """
        import faiss

        self._refuse_strangers(space, entries)
        keys, free = dict(self.card.keys), max(self.card.keys.values(), default=-1) + 1
        for place, key in enumerate(key for key in entries if key not in keys):
            keys[key] = free + place
        ids = np.array([keys[key] for key in entries], dtype=np.int64)
        grown = faiss.clone_index(self._index)
        grown.remove_ids(faiss.IDSelectorBatch(ids))
        if len(ids):
            grown.add_with_ids(np.stack([np.asarray(one, np.float32) for one in entries.values()]), ids)
        content = faiss.serialize_index(grown).tobytes()
        card = self.card.model_copy(
            update={"keys": keys, "vectors": sha256_bytes(content), "bundle": bundle or self.card.bundle}
        )
        with disk("a vector index could not be written", f"indexes/{self._folder.name} in the home folder"):
            assert card.vectors is not None
            replace_file(_vectors_path(self._folder, card.vectors), content, scratch=self._folder, mode=0o600)
            replace_file(self._folder / _CARD, card.canonical(), scratch=self._folder, mode=0o600)
            for old in self._folder.glob("vectors-*.faiss"):
                if old != _vectors_path(self._folder, card.vectors):
                    old.unlink()
        self.card, self._index = card, grown

    def search(self, vector: Vector, *, space: str, count: int) -> list[Match]:
        """The nearest voiceprints, best first; Refused for a vector of another space, dimension or length than 1."""
        self._refuse_strangers(space, {"the query": vector})
        names = {number: key for key, number in self.card.keys.items()}
        scores, ids = self._index.search(np.asarray(vector, np.float32)[None], min(count, len(names)) or 1)
        found = zip(ids[0].tolist(), scores[0].tolist(), strict=True)
        return [Match(names[number], score) for number, score in found if number >= 0]

    def _refuse_strangers(self, space: str, entries: Mapping[str, Vector]) -> None:
        own = self.card.space
        if space != own.name:
            raise Refused(
                "vectors of different spaces are never compared",
                where=f"the index of {own.name}", got=space, expected=own.name,
                next_step="search the index of the vector's own space (soundcheck index status), or migrate",
            )  # fmt: skip
        for vector in entries.values():
            length = float(np.linalg.norm(vector))
            if np.shape(vector) != (own.dimension,) or not abs(length - 1) <= _LENGTH_TOLERANCE:
                raise Refused(
                    "a vector is not of the index's form",
                    where=f"the index of {own.name}", got=f"{np.size(vector)} components, length {length:.4g}",
                    expected=f"{own.dimension} components, length 1", next_step="embed the audio again",
                )  # fmt: skip


def spaces(folder: Path) -> list[str]:
    """Names of the spaces that a family has an index of."""
    return sorted(card.parent.name for card in folder.glob(f"*/{_CARD}"))


def create(folder: Path, space: Space, *, bundle: Digest) -> VectorIndex:
    """The index of a space, empty where there was none; Refused where there is one of another dimension."""
    place = folder / space.name
    if not (place / _CARD).is_file():
        with disk("a vector index could not be made", f"indexes/{space.name} in the home folder"):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            card = IndexCard(space=space, bundle=bundle)
            replace_file(place / _CARD, card.canonical(), scratch=place, mode=0o600)
    found = read(folder, space.name)
    if found.card.space != space:
        raise Refused(
            "a vector space has one dimension", where=f"the index of {space.name}", got=str(space.dimension),
            expected=str(found.card.space.dimension), next_step="give the other space another name",
        )  # fmt: skip
    return found


def read(folder: Path, space: str) -> VectorIndex:
    """The index of a space; NotFound where there is none, Corrupt where its files are not what its card says."""
    import faiss

    place = folder / space
    if not (place / _CARD).is_file():
        raise NotFound(
            "there is no index of this vector space", where=folder.name, got=space,
            expected=" or ".join(spaces(folder)) or "an index", next_step="name a space that has one, or migrate",
        )  # fmt: skip
    card = _card(place)
    content = _content(place, card)
    while content is None and (newer := _card(place)) != card:  # a writer was here between the card and its vectors
        card, content = newer, _content(place, newer)
    if content is None:
        raise Corrupt(
            "the vectors of an index are not what its card says", where=f"{space}/vectors-*.faiss",
            got="other bytes, or none", expected=f"digest {short(card.vectors or '')}",
            next_step="remove the folder of this index and fill it again from the kept enrolment audio",
        )  # fmt: skip
    stored = faiss.deserialize_index(np.frombuffer(content, np.uint8)) if content else None
    return VectorIndex(place, card, stored or faiss.IndexIDMap(faiss.IndexFlatIP(card.space.dimension)))


def _content(place: Path, card: IndexCard) -> bytes | None:
    """The serialised vectors, b"" where nothing was put in yet; None where they are not what the card says."""
    if card.vectors is None:
        return b""
    path = _vectors_path(place, card.vectors)
    content = path.read_bytes() if path.is_file() else b""
    return content if sha256_bytes(content) == card.vectors else None


def _card(place: Path) -> IndexCard:
    return IndexCard.parse((place / _CARD).read_bytes(), where=f"{place.name}/{_CARD}")


def _vectors_path(place: Path, digest: Digest) -> Path:
    return place / f"vectors-{short(digest)}.faiss"


def keep_shim(folder: Path, source: str, target: str, matrix: Vector) -> Digest:
    """Keep a linear map (target dimension, source dimension) beside the target's index; the digest of its file."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(matrix, np.float32), allow_pickle=False)
    path = _shim_path(folder, source, target)
    with disk("a shim could not be written", f"indexes/{target} in the home folder"):
        replace_file(path, buffer.getvalue(), scratch=path.parent, mode=0o600)
    return sha256_bytes(buffer.getvalue())


def shimmed(folder: Path, vector: Vector, *, source: str, target: str) -> Vector:
    """A vector of `source` mapped into `target`, of length 1; NotFound where no shim leads there."""
    path = _shim_path(folder, source, target)
    if not path.is_file():
        raise NotFound(
            "no shim leads from one vector space to the other", where=folder.name, got=f"{source} to {target}",
            next_step="embed the audio again with a model of the target space",
        )  # fmt: skip
    mapped = np.load(path, allow_pickle=False) @ np.asarray(vector, np.float32)
    unit: Vector = (mapped / np.linalg.norm(mapped)).astype(np.float32)
    return unit


def _shim_path(folder: Path, source: str, target: str) -> Path:
    return folder / target / f"shim-from-{source}.npy"


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold the family's lock, so that two writers do not undo each other."""
    with disk("the indexes of a family could not be locked", "indexes/ in the home folder"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
