"""S5 in the training data: where else erased content lies, in data remotes and in DVC's cache, and taking it away.

Boundary: the store's train and data manifests, the data remotes, `.dvc/cache` of this project.
Invariants: an object goes by the MD5 of the very content, so that nobody else's data goes with it; what could not be
deleted is named, with the object that is left; the remote that lies in the store's own place must answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from contracts.digest import Digest
from contracts.errors import DependencyFailed, Refused
from contracts.train_manifest import DvcLineage, TrainManifest
from operations.context import Context
from operations.data_lineage import utterance_path
from operations.with_data import listing, outermost, places_of, rows_of
from registry.dvc_objects import FOLDER, md5_of, object_key
from registry.dvc_remote import DataRemote, Place, configured, place_of_store


class Copies(NamedTuple):
    """What became of the copies that DVC holds, in sentences: taken away, and left for a person to delete."""

    removed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def utterances(context: Context, manifest: TrainManifest, blob: Digest) -> list[str]:
    """The paths of a data manifest that have this content, [] where the manifest itself was erased."""
    try:
        return [path for path, sha256 in rows_of(context, manifest) if sha256 == blob]
    except Refused:
        return []


def remove_copies(context: Context, manifests: Iterable[TrainManifest], blob: Digest) -> Copies:
    """Delete the DVC objects of a blob, wherever this installation can reach them.

    Raises DependencyFailed where the remote in the store's own place, or a remote that lists the data, does not answer.
    """
    traced = [(manifest, manifest.dvc) for manifest in manifests if manifest.dvc]
    own, default = place_of_store(context.store.url), configured(context.settings.root)
    if not traced and default is None:
        return Copies()  # this project has no DVC
    found = {place: md5 for manifest, lineage in traced for place, md5 in _objects(context, manifest, lineage, blob)}
    objects = set(found.values())
    if context.store.has_blob(blob):
        objects.add(md5_of(context.store.read_blob(blob)))
    places = [place for _, lineage in traced for place in places_of(context, lineage)]
    places += [place for place in (own, default[1] if default else None) if place]
    removed, left = [], [_work_tree(path) for path in found if (context.settings.root / path).is_file()]
    for md5 in sorted(objects):
        cached = context.settings.root / ".dvc" / "cache" / object_key(md5)
        if cached.is_file():
            cached.unlink()
            removed.append(f"object {md5} of this project's DVC cache")
        for place in dict.fromkeys(places):
            try:
                if DataRemote(place).remove(md5):
                    removed.append(f"object {md5} of {place.address}")
            except DependencyFailed as error:
                if place == own:
                    raise
                left.append(f"object {md5} of {place.address} ({error.what}): delete it there")
    return Copies(tuple(removed), tuple(left))


def _objects(context: Context, manifest: TrainManifest, lineage: DvcLineage, blob: Digest) -> Iterator[tuple[str, str]]:
    """Path from the project's folder and MD5 of each utterance that is this content."""
    paths = utterances(context, manifest, blob)
    if not paths:
        return
    files: dict[str, str] = {}
    for entry in outermost(lineage.data):
        files |= listing(_holder(places_of(context, lineage), entry.held_in or entry.md5), entry)
    folders = [entry.path for entry in lineage.data]
    for path in paths:
        if place := utterance_path(path, folders, files):
            yield place, files[place]


def _holder(places: list[Place], md5: str) -> DataRemote:
    """The remote that has a folder's list; a single file's MD5 needs none."""
    remotes = [DataRemote(place) for place in places]
    found = next((remote for remote in remotes if not md5.endswith(FOLDER) or remote.has(md5)), None)
    if found is None:
        raise DependencyFailed(
            "no data remote has the list of the data, so the content's object is not known",
            where=" and ".join(place.address for place in places) or "no address is known",
            got=f"no object {md5}",
            next_step="`soundcheck data push` from a machine that has the data, then erase again",
        )
    return found


def _work_tree(path: str) -> str:
    return f"{path} in the project's folder, and in every other checkout: delete it, then `dvc commit`"
