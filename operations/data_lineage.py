"""R1, the data of a candidate: what DVC recorded of the stage that made it, and proof that it is so.

Boundary: reads dvc.lock, the DVC configuration and the files of data and candidate; writes nothing but the memory of
digests.
Invariants: DVC trusts its cache by modification time, this does not: the MD5 of every file of the stage's data, and of
the candidate, is compared with dvc.lock; every row of the data manifest is a file of that data with that SHA-256. So a
manifest never names data that the model was not trained on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.errors import Corrupt, Refused
from contracts.train_manifest import DvcEntry, DvcLineage
from operations.candidate import Candidate
from operations.context import Context
from registry.dvc_objects import (
    FOLDER,
    Stage,
    Tracked,
    folder_digest,
    object_key,
    parse_folder,
    read_dvc_file,
    read_stages,
)
from registry.dvc_remote import remote_of_project
from registry.file_digests import Known, digest_files

if TYPE_CHECKING:
    import pandas as pd
    from pathspec import GitIgnoreSpec

_NAMED = 5
PARENT = "quantized_from"
"""The provenance by which a candidate names the version it was made from: its data is that version's."""


def trace(context: Context, folder: Path, candidate: Candidate, frame: pd.DataFrame | None) -> DvcLineage | None:
    """The lineage of the candidate in `folder`, verified; None where no stage of dvc.lock made it.

    Args:
        frame: the data manifest, with columns `path` and `sha256`.

    Raises Refused naming the first files that are not what dvc.lock or the data manifest says.
    """
    root = context.settings.root
    stages = read_stages(root)
    made = _made_by(stages, root, folder, candidate)
    if made is None:
        return None
    stage, own = made
    outs = [out for other in stages if other is not stage for out in other.outs]
    deps = tuple(_dependency(root, outs, dep) for dep in stage.deps)
    lineage = DvcLineage(
        stage=stage.name,
        deps=deps,
        outs=tuple(_entry(out, "candidate" if out == own else "output") for out in stage.outs),
        remote=remote_of_project(root, context.store.url),
    )
    known = _verify(context, [*lineage.data, *(entry for entry in lineage.outs if entry.kind == "candidate")])
    if frame is not None:
        _verify_rows(frame, [entry.path for entry in lineage.data], known)
    return lineage


def utterance_path(path: str, folders: Iterable[str], known: Mapping[str, object]) -> str | None:
    """Where a row of a data manifest lies: its path from the project's folder, or from one of the data folders."""
    places = [path, *(f"{folder}/{path}" for folder in folders)]
    return next((place for place in places if place in known), None)


def _made_by(
    stages: Sequence[Stage], root: Path, folder: Path, candidate: Candidate
) -> tuple[Stage, Tracked | None] | None:
    """The stage that wrote the candidate and the output it is; without an output where it is made from another's."""
    if not folder.resolve().is_relative_to(root.resolve()):
        return None
    path = folder.resolve().relative_to(root.resolve()).as_posix()
    for stage in stages:
        for out in stage.outs:
            if out.holds(path):
                return stage, out
    parent = candidate.provenance.get(PARENT)
    if not isinstance(parent, str):
        return None
    beside = (Path(path).parent / parent).as_posix()
    return next(((stage, None) for stage in stages if any(out.holds(beside) for out in stage.outs)), None)


def _dependency(root: Path, outs: Sequence[Tracked], dep: Tracked) -> DvcEntry:
    """A dependency; `data` where DVC holds it, as an output of another stage or by a `.dvc` file."""
    holder = next((out for out in outs if out.holds(dep.path)), None) or read_dvc_file(root, dep.path)
    if holder is None:
        return _entry(dep, "code")
    if holder.path == dep.path or not dep.md5.endswith(FOLDER):
        return _entry(dep, "data")
    inside = dep.path.removeprefix(holder.path + "/")
    return _entry(dep, "data").model_copy(update={"held_in": holder.md5, "inside": inside})


def _entry(tracked: Tracked, kind: str) -> DvcEntry:
    return DvcEntry.model_validate({**tracked._asdict(), "kind": kind})


def _verify(context: Context, entries: Sequence[DvcEntry]) -> dict[str, Known]:
    """Path from the project's folder -> content, for every file of the entries; each as dvc.lock says."""
    root = context.settings.root
    files = {path: root / path for entry in entries for path in _files(root, entry)}
    now_ns = int(context.now().timestamp() * 1e9)
    known = digest_files(
        files, context.home / "cache" / "file_digests.sqlite", now_ns=now_ns,
        on_progress=lambda done, total: context.progress("bytes of data verified", done, total),
    )  # fmt: skip
    for entry in entries:
        found = _below(entry.path, known)
        got = folder_digest(found) if entry.md5.endswith(FOLDER) else known[entry.path].md5
        if got != entry.md5:
            raise _changed(entry, got, _differences(root, entry, found))
    return known


def _below(folder: str, known: Mapping[str, Known]) -> dict[str, str]:
    """Relative path -> MD5 of the files in a folder."""
    start = folder + "/"
    return {path.removeprefix(start): entry.md5 for path, entry in known.items() if path.startswith(start)}


def _files(root: Path, entry: DvcEntry) -> list[str]:
    """The files of an entry as DVC counts them: those of `.dvcignore` are not there."""
    place = root / entry.path
    if not place.exists() or place.is_dir() != entry.md5.endswith(FOLDER):
        raise Refused(
            "data of the training stage is not here, so it cannot be verified",
            where=str(place),
            expected="a folder" if entry.md5.endswith(FOLDER) else "a file",
            next_step=f"dvc pull {entry.path}, and run the release again",
        )
    if place.is_file():
        return [entry.path]
    ignored = _ignored(root)
    found = [
        (Path(folder) / name).relative_to(root).as_posix()
        for folder, _, names in os.walk(place, followlinks=True)
        for name in names
    ]
    return [path for path in found if not ignored.match_file(path)]


def _ignored(root: Path) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    rules = root / ".dvcignore"
    return GitIgnoreSpec.from_lines(rules.read_text().splitlines() if rules.is_file() else [])


def _differences(root: Path, entry: DvcEntry, found: Mapping[str, str]) -> list[str]:
    """Which files of a folder differ, as far as DVC's cache still has the folder object."""
    cached = root / ".dvc" / "cache" / object_key(entry.md5)
    try:
        expected = parse_folder(cached.read_bytes(), entry.md5, where=str(cached))
    except (OSError, Corrupt):
        return []
    names = {path: "changed" for path in found.keys() & expected.keys() if found[path] != expected[path]}
    names |= dict.fromkeys(expected.keys() - found.keys(), "missing")
    names |= dict.fromkeys(found.keys() - expected.keys(), "extra")
    return [f"{path} {names[path]}" for path in sorted(names)]


def _changed(entry: DvcEntry, got: str, names: Sequence[str]) -> Refused:
    return Refused(
        "data changed under its recorded digest" if entry.kind == "data" else "the candidate is not what training made",
        where=f"{entry.path} ({entry.md5} in dvc.lock)",
        got=_first(names) or f"md5 {got}",
        expected="the bytes that dvc.lock names",
        next_step="dvc checkout brings them back; dvc repro trains on what is there now",
    )


def _verify_rows(frame: pd.DataFrame, folders: Sequence[str], known: Mapping[str, Known]) -> None:
    """Every utterance of the data manifest is a file of the data, with its SHA-256."""
    faults = []
    for path, digest in zip(frame["path"], frame["sha256"], strict=True):
        place = utterance_path(str(path), folders, known)
        if place is None:
            faults.append(f"{path} missing")
        elif known[place].sha256 != digest:
            faults.append(f"{path} changed")
    if faults:
        raise Refused(
            "the data manifest is not one of the data that the stage was trained on",
            where=", ".join(folders) or "a stage without data",
            got=_first(faults),
            expected="of every row a file with its sha256",
            next_step="let training write the manifest of the data it reads, dvc repro, and run the release again",
        )


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
