"""Voiceprints of a family: filled from kept enrolment audio, enrolled in every index at once, searched by space.

Boundary: runs bundles' models in processes of operations/compute.py; writes below HOME/indexes/FAMILY.
Invariants: what is enrolled is written to every index of the family, each by a model of its own space (dual write);
filling goes on where it stopped, a batch at a time; a search names the space of its vector, and is answered by that
space's index or, where that is gone, through a shim that leads from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from contracts.bundle import BundleManifest
from contracts.digest import Digest, short
from contracts.errors import NotFound, Refused
from operations import compute
from operations.context import Context
from operations.migration.planning import indexes, space_of
from operations.payload import feature_contract, materialise
from operations.rollback import named_bundle
from registry import vector_index
from registry.documents import get_document
from registry.vector_index import Match, Vector, VectorIndex
from speech.kinds import Prompt

if TYPE_CHECKING:
    import pandas as pd

    from evalpacks.pack import Pack

BATCH = 64
"""Voiceprints that are written at once, where no plan says how many."""


def embedded(context: Context, bundle: Digest, utterances: pd.DataFrame, root: Path) -> Vector:
    """A bundle's vectors of utterances, in order, (utterances, dimension); NaN where nobody is heard to speak."""
    import pandas

    from evalpacks.metrics.embedding import vectors_of

    payload = materialise(context, get_document(context.store, BundleManifest, bundle))
    parts = np.array_split(np.arange(len(utterances)), max(1, min(compute.PROCESSES, len(utterances))))
    calls = [partial(_run, payload, utterances.iloc[part], root) for part in parts]
    table = pandas.concat(list(compute.shared_each(calls))).set_index("utterance_id")
    vectors: Vector = vectors_of(table.loc[list(utterances["utterance_id"])]).astype(np.float32)
    return vectors


def _run(payload: Path, utterances: pd.DataFrame, root: Path) -> pd.DataFrame:
    from speech.kinds import kind

    return kind("embedding").run_pack(compute.model(payload), utterances, root)


def fill(context: Context, family: str, bundle: Digest, pack: Pack, *, batch: int = BATCH) -> VectorIndex:
    """The index of a bundle's space, with a voiceprint of every speaker whom the pack enrols.

    Those that are there stay: what was enrolled meanwhile is newer than the kept audio.
    """
    from evalpacks.metrics.embedding import ENROLMENT, voiceprints

    space = space_of(feature_contract(context, bundle))
    assert space is not None
    folder = indexes(context, family)
    with vector_index.writing(folder):
        known = vector_index.create(folder, space, bundle=bundle).card.keys
    rows = pack.utterances[pack.utterances["role"] == ENROLMENT]
    missing = sorted(set(rows["speaker"]) - known.keys())
    for start in range(0, len(missing), batch):
        context.progress(f"voiceprints of {space.name}", start, len(missing))
        chosen = rows[rows["speaker"].isin(missing[start : start + batch])]
        made = voiceprints(embedded(context, bundle, chosen, pack.root).astype(np.float64), chosen["speaker"].tolist())
        found = {name: one.astype(np.float32) for name, one in zip(*made, strict=True) if np.isfinite(one).all()}
        with vector_index.writing(folder):
            index = vector_index.read(folder, space.name)
            index.put({key: one for key, one in found.items() if key not in index.card.keys}, space=space.name)
    context.progress(f"voiceprints of {space.name}", len(missing), len(missing))
    return vector_index.read(folder, space.name)


def enrol(context: Context, family: str, key: str, recordings: Sequence[Path]) -> list[str]:
    """Enrol somebody by recordings of their voice, in every index of the family; the names of the spaces.

    Raises Refused where the family has no index yet, or nobody is heard to speak.
    """
    folder = indexes(context, family)
    writers = _writers(context, family)
    made = {space: _voiceprint(context, bundle, recordings) for space, bundle in writers.items()}
    with vector_index.writing(folder):
        for space, vector in made.items():
            vector_index.read(folder, space).put({key: vector}, space=space, bundle=writers[space])
    return sorted(made)


def _writers(context: Context, family: str) -> dict[str, Digest]:
    """Space -> the bundle whose model writes its index: the stable one for its own space."""
    folder = indexes(context, family)
    writers = {space: vector_index.read(folder, space).card.bundle for space in vector_index.spaces(folder)}
    if not writers:
        raise Refused(
            "the family has no index yet", where=family, expected="an index that a release has filled",
            next_step=f"release a first candidate of {family}",
        )  # fmt: skip
    current = context.ledger(family).state().current
    served = space_of(feature_contract(context, current)) if current else None
    return writers | ({served.name: current} if served and current else {})


def _voiceprint(context: Context, bundle: Digest, recordings: Sequence[Path]) -> Vector:
    vectors = [vector_of(context, bundle, recording) for recording in recordings]
    mean = np.mean(vectors, axis=0)
    unit: Vector = (mean / np.linalg.norm(mean)).astype(np.float32)
    return unit


def vector_of(context: Context, bundle: Digest, recording: Path) -> Vector:
    """A bundle's vector of one recording, (dimension,); Refused where nobody is heard to speak."""
    payload = materialise(context, get_document(context.store, BundleManifest, bundle))
    (answer,) = compute.answers(payload, [Prompt(recording)])
    return np.array(answer.vector, dtype=np.float32)


class Held(NamedTuple):
    """An index: its space, how many voiceprints it has, the version whose model writes it, whether stable is of it."""

    space: str
    dimension: int
    voiceprints: int
    version: str
    served: bool


def held(context: Context, family: str) -> list[Held]:
    """Every index of a family."""
    state = context.ledger(family).state()
    served = space_of(feature_contract(context, state.current)) if state.current else None
    folder = indexes(context, family)
    cards = [vector_index.read(folder, space).card for space in vector_index.spaces(folder)]
    return [
        Held(
            card.space.name, card.space.dimension, len(card.keys), state.packaged.get(card.bundle, short(card.bundle)),
            card.space == served,
        )
        for card in cards
    ]  # fmt: skip


def find(
    context: Context, family: str, recording: Path, *, bundle: str | None = None, count: int = 5
) -> tuple[str, list[Match]]:
    """The space of the bundle that embeds a recording (its version or digest; None: the stable one), and whom a search
    there finds, best first. Raises Refused where nothing is stable yet."""
    chosen = named_bundle(context, family, bundle) if bundle else context.ledger(family).state().current
    space = space_of(feature_contract(context, chosen)) if chosen else None
    if chosen is None or space is None:
        raise Refused(
            "no bundle of the family makes vectors", where=family, expected="a stable bundle of a family of embeddings",
            next_step=f"soundcheck status {family}",
        )  # fmt: skip
    return space.name, search(context, family, vector_of(context, chosen, recording), space=space.name, count=count)


def search(context: Context, family: str, vector: Vector, *, space: str, count: int = 5) -> list[Match]:
    """The nearest voiceprints to a vector of a space, best first.

    Raises NotFound where there is neither an index of the space nor a shim that leads from it to one that is.
    """
    folder = indexes(context, family)
    known = vector_index.spaces(folder)
    if space in known:
        return vector_index.read(folder, space).search(vector, space=space, count=count)
    for target in known:
        try:
            mapped = vector_index.shimmed(folder, vector, source=space, target=target)
        except NotFound:
            continue
        return vector_index.read(folder, target).search(mapped, space=target, count=count)
    raise NotFound(
        "there is no index of this vector space, and no shim leads from it", where=family, got=space,
        expected=" or ".join(known) or "an index", next_step="embed the audio again with the stable bundle",
    )  # fmt: skip
