"""S Restore with data: a bundle and the exact training data of its model, from the store and the data remote alone.

Boundary: the store, the data remote and a target folder; no DVC, no DVC cache, no git checkout.
Invariants: the bundle's train manifest alone says which data it was; every file is verified by DVC's MD5 and every
utterance by the SHA-256 of the data manifest before the data gets its name; what is not whole is not there; utterances
that were erased are left out and named (S5).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from contracts.digest import Digest, short
from contracts.errors import AlreadyExists, Corrupt, DependencyFailed, Refused
from contracts.train_manifest import DvcEntry, DvcLineage, TrainManifest
from operations.context import Context
from operations.data_lineage import utterance_path
from operations.restore import Restored, restore
from registry.documents import get_document
from registry.dvc_objects import FOLDER, folder_digest, parse_folder
from registry.dvc_remote import DataRemote, Place, place_of_remote, place_of_store
from registry.file_digests import Known
from registry.folders import each
from registry.provenance import PACKAGED
from registry.store.files import SCRATCH_FOLDER, disk, make_folder, scratch_folder, sweep, sync_folder
from registry.store.keeping import ever_erased
from registry.tombstones import read_named, said, sentence, standing

DATA = "data"
"""Where data goes, in the folder of the bundle; and how a project names its own."""
TRAIN_MANIFEST = PACKAGED["train_manifest"]


class RestoredData(NamedTuple):
    """What data came back, and from where."""

    folder: Path
    files: int
    size: int
    utterances: int
    remote: str


class _File(NamedTuple):
    """A file of the data: its path from the project's folder, its MD5."""

    path: str
    md5: str


def restore_with_data(context: Context, family: str, bundle: Digest, into: Path) -> tuple[Restored, RestoredData]:
    """Restore the bundle into a new folder, or take it as it is there, and put the data below `into`/data.

    Utterances that were erased are left out; `absent` of the first result names them.

    Raises Refused for a bundle whose data DVC did not hold, DependencyFailed where the remote lacks an object or does
    not answer, Corrupt where bytes are not what was recorded. The bundle stays then: the same command goes on.
    """
    into = Path(os.path.abspath(into))
    manifest, lineage = _lineage(context, family, bundle)
    if (into / DATA).exists():
        raise AlreadyExists(
            "there is data already",
            where=str(into / DATA),
            expected="a folder without `data`",
            next_step="name another folder, or move it away",
        )
    remote = _remote(context, lineage)
    wanted = outermost(lineage.data)
    listed = {path: md5 for entry in wanted for path, md5 in listing(remote, entry).items()}
    rows = rows_of(context, manifest)
    erased = _erased(context, rows, lineage, listed)
    files = [_File(path, md5) for path, md5 in listed.items() if path not in erased]
    total = sum(entry.size for entry in wanted)
    done = _here(context, bundle, into) or restore(context, family, bundle, into)
    with disk("the training data could not be restored", str(into)):
        sweep(into.parent, SCRATCH_FOLDER + "*")
        with scratch_folder(into) as scratch:
            known = _fetch(context, remote, files, scratch / DATA, total=total)
            _check_utterances(rows, lineage, {path: content.sha256 for path, content in known.items()}, erased)
            (scratch / DATA).rename(into / DATA)
        sync_folder(into)
    absent = tuple(f"{path}: {said}" for path, said in erased.items())
    size = sum(content.size for content in known.values())
    data = RestoredData(into / DATA, len(files), size, len(rows) - len(absent), remote.address)
    return done._replace(absent=(*done.absent, *absent)), data


def _lineage(context: Context, family: str, bundle: Digest) -> tuple[TrainManifest, DvcLineage]:
    from registry.bundle import load_manifest

    files = load_manifest(context.store, bundle).files
    if TRAIN_MANIFEST not in files:
        raise Corrupt("a bundle has no train manifest", where=f"{family} {short(bundle)}")
    manifest = get_document(context.store, TrainManifest, files[TRAIN_MANIFEST].sha256)
    if manifest.dvc is None or not manifest.dvc.data:
        raise Refused(
            "the training data of this bundle cannot be restored",
            where=f"{family} {manifest.version} ({short(bundle)})",
            got="a third party's model"
            if manifest.origin == "third_party"
            else "no stage of dvc.lock made it from data",
            expected="a candidate that a DVC stage made from data that DVC holds",
            next_step="restore it without --with-data",
        )
    return manifest, manifest.dvc


def places_of(context: Context, lineage: DvcLineage) -> list[Place]:
    """Where the data may lie: the store's own remote, then the one that the manifest names."""
    recorded = place_of_remote(lineage.remote, context.settings.root) if lineage.remote else None
    return [place for place in (place_of_store(context.store.url), recorded) if place]


def _remote(context: Context, lineage: DvcLineage) -> DataRemote:
    """The store's own remote, else the one that the manifest names: the first that has the data."""
    places = places_of(context, lineage)
    first = lineage.data[0]
    for place in places:
        remote = DataRemote(place)
        if remote.has(first.held_in or first.md5):
            return remote
    raise DependencyFailed(
        "no data remote has the training data",
        where=" and ".join(place.address for place in places) or "no address is known",
        got=f"no object {first.held_in or first.md5}",
        expected=f"the data of {first.path}",
        next_step="`soundcheck data push` from a machine that has the data, then run the same command again",
    )


def outermost(entries: Sequence[DvcEntry]) -> list[DvcEntry]:
    """The entries that do not lie in another one: each file once."""
    return [entry for entry in entries if not any(entry.path.startswith(f"{other.path}/") for other in entries)]


def listing(remote: DataRemote, entry: DvcEntry) -> dict[str, str]:
    """The files of one dependency: path from the project's folder -> MD5."""
    if not entry.md5.endswith(FOLDER):
        return {entry.path: entry.md5}
    held = entry.held_in or entry.md5
    files = parse_folder(remote.read(held), held, where=f"{remote.address}, {entry.path}")
    start = f"{entry.inside}/" if entry.inside else ""
    own = {path.removeprefix(start): md5 for path, md5 in files.items() if path.startswith(start)}
    if folder_digest(own) != entry.md5:
        raise Corrupt(
            "a folder of the data is not in the output that held it",
            where=f"{remote.address}, {entry.path}",
            got=folder_digest(own),
            expected=entry.md5,
            next_step="dvc repro the stage and release again: dvc.lock was stale when this was released",
        )
    return {f"{entry.path}/{path}": md5 for path, md5 in own.items()}


def _here(context: Context, bundle: Digest, into: Path) -> Restored | None:
    """The bundle in a folder that has it whole already, None where there is nothing."""
    from registry.bundle import load_manifest, verify_folder

    if not into.is_dir() or not any(into.iterdir()):
        return None
    manifest = load_manifest(context.store, bundle)
    if verify_folder(into, manifest):
        return None  # `restore` says that the folder is taken
    return Restored(bundle, manifest.family, manifest.version, len(manifest.files), into)


def _fetch(context: Context, remote: DataRemote, files: list[_File], folder: Path, *, total: int) -> dict[str, Known]:
    """Write every file below `folder`; path from the project's folder -> what its content is."""
    targets = {file: folder / place for file, place in zip(files, _places(files), strict=True)}
    for parent in {target.parent for target in targets.values()}:
        make_folder(parent)
    known, done = {}, 0
    for file, content in each(files, lambda file: remote.copy(file.md5, targets[file], name=file.path)):
        known[file.path] = content
        done += content.size
        context.progress("bytes of data restored", done, total)
    for parent in {target.parent for target in targets.values()}:
        sync_folder(parent)
    return known


def _places(files: list[_File]) -> list[str]:
    """Where files go below `data`: by their paths below the project's own `data`, or by their whole paths."""
    whole = [file.path for file in files]
    below = [path.removeprefix(f"{DATA}/") for path in whole]
    return below if len(set(below)) == len(below) else whole


def rows_of(context: Context, manifest: TrainManifest) -> list[tuple[str, Digest]]:
    """Path and SHA-256 of every utterance of the data manifest, [] where there is none; Refused where it was erased."""
    if manifest.data is None:
        return []
    import pandas as pd

    rows = read_named(context.store, manifest.data.digest, "the list of the training data")
    frame = pd.read_parquet(BytesIO(rows), columns=["path", "sha256"])
    return [(str(path), str(sha256)) for path, sha256 in zip(frame["path"], frame["sha256"], strict=True)]


def _erased(
    context: Context, rows: list[tuple[str, Digest]], lineage: DvcLineage, listed: Mapping[str, str]
) -> dict[str, str]:
    """Utterances that lie under a tombstone: path from the project's folder -> what it says."""
    words, folders = ever_erased(context.store), [entry.path for entry in lineage.data]
    found = {}
    for path, sha256 in rows:
        envelope = standing(context.store, sha256) if sha256 in words else None
        place = utterance_path(path, folders, listed)
        if envelope and place:
            found[place] = sentence(said(envelope))
    return found


def _check_utterances(
    rows: list[tuple[str, Digest]], lineage: DvcLineage, known: Mapping[str, Digest], erased: Mapping[str, str]
) -> None:
    """Every row of the data manifest that was not erased is there with its SHA-256."""
    folders = [entry.path for entry in lineage.data]
    for path, sha256 in rows:
        if utterance_path(path, folders, erased):
            continue
        place = utterance_path(path, folders, known)
        if place is None or known[place] != sha256:
            raise Corrupt(
                "an utterance of the training data is not what the data manifest says",
                where=path,
                got="no such file" if place is None else f"sha256 {short(known[place])}",
                expected=f"sha256 {short(sha256)}",
                next_step="the data remote holds other data under the same MD5: get it from a backup",
            )
