"""DVC's own formats: dvc.lock, `.dvc` files, folder objects, the keys of a remote.

Boundary: reads dvc.yaml, dvc.lock and `.dvc` files of a project; no data, no cache, no network.
Invariants: a folder object is taken only when its MD5 is its name, and its paths are portable and stay inside (fault
47); content that DVC does not name by MD5 (version 2's text files, etags of other places) is refused, because nothing
here could verify it.
Source: DVC 3's `dvc_data.hashfile.tree` (a folder is the MD5 of the JSON list of its files) and its remote layout,
`files/md5/AB/REST`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from posixpath import normpath
from typing import Any, NamedTuple

import yaml

from contracts.bundle import path_fault
from contracts.errors import Corrupt, Refused

FOLDER = ".dir"
"""How the name of a folder object ends."""
_DIGEST = re.compile(r"[0-9a-f]{32}(\.dir)?")


class Tracked(NamedTuple):
    """A path that DVC has a digest of: POSIX from the project's folder, MD5, bytes, number of files."""

    path: str
    md5: str
    size: int
    files: int

    def holds(self, path: str) -> bool:
        """Whether `path` is this one or lies in it."""
        return path == self.path or path.startswith(self.path + "/")


class Stage(NamedTuple):
    """A stage of dvc.lock, with paths from the project's folder."""

    name: str
    deps: tuple[Tracked, ...]
    outs: tuple[Tracked, ...]


def md5_of(content: bytes) -> str:
    """DVC's digest of a content."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def folder_digest(files: Mapping[str, str]) -> str:
    """DVC's digest of a folder: relative POSIX path -> MD5 of the file."""
    listing = [{"md5": files[path], "relpath": path} for path in sorted(files)]
    return md5_of(json.dumps(listing, sort_keys=True).encode()) + FOLDER


def parse_folder(content: bytes, md5: str, *, where: str) -> dict[str, str]:
    """A folder object as relative path -> MD5; Corrupt where its bytes are not its own or a path leads elsewhere."""
    got = md5_of(content) + FOLDER
    if got != md5:
        raise Corrupt("a folder object of DVC is not what its digest says", where=where, got=got, expected=md5)
    try:
        files = {str(entry["relpath"]): str(entry["md5"]) for entry in json.loads(content)}
    except (ValueError, TypeError, KeyError):
        raise Corrupt("a folder object of DVC is malformed", where=where, expected="a list of relpath, md5") from None
    for path, digest in files.items():
        fault = path_fault(path)
        if fault or not _DIGEST.fullmatch(digest) or digest.endswith(FOLDER):
            raise Corrupt(
                "a folder object of DVC names what cannot be restored",
                where=f"{where}, {path!a}",
                got=fault or "no MD5 of a file",
                expected="relative paths inside the folder, each with the MD5 of its file",
            )
    return files


def object_key(md5: str) -> str:
    """Where a remote or a cache has an object, below its own folder."""
    return f"files/md5/{md5[:2]}/{md5[2:]}"


def read_stages(root: Path) -> list[Stage]:
    """The stages of the project's dvc.lock, [] without one; Refused where a digest is not an MD5."""
    lock = root / "dvc.lock"
    if not lock.is_file():
        return []
    locked = _mapping(_mapping(_yaml(lock), lock).get("stages") or {}, lock)
    pipeline = root / "dvc.yaml"
    declared = _mapping(_yaml(pipeline), pipeline).get("stages") or {} if pipeline.is_file() else {}
    return [
        Stage(name, *(_tracked(stage.get(part) or [], _folder(declared, name), lock) for part in ("deps", "outs")))
        for name, stage in locked.items()
    ]


def read_dvc_file(root: Path, path: str) -> Tracked | None:
    """What `PATH.dvc`, beside the path or beside a folder above it, says (`dvc add`); None without one."""
    parts = path.split("/")
    for end in range(len(parts), 0, -1):
        file = root / ("/".join(parts[:end]) + ".dvc")
        if file.is_file():
            outs = _mapping(_yaml(file), file).get("outs") or []
            return _tracked(outs, file.parent.relative_to(root).as_posix(), file)[0]
    return None


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        raise Refused("a file of DVC does not parse", where=str(path), got=str(error).split("\n")[0]) from None


def _mapping(value: Any, where: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Refused("a file of DVC does not parse", where=str(where), expected="what `dvc repro` writes")
    return value


def _folder(declared: Mapping[str, Any], name: str) -> str:
    """The folder that a locked stage's paths start from: `wdir` of dvc.yaml."""
    stage = declared.get(name.partition("@")[0]) or {}
    return str(stage.get("do", stage).get("wdir", "."))


def _tracked(entries: list[dict[str, Any]], folder: str, where: Path) -> tuple[Tracked, ...]:
    found = []
    for entry in entries:
        digest = str(entry.get("md5", ""))
        if entry.get("hash") != "md5" or not _DIGEST.fullmatch(digest):
            raise Refused(
                "DVC has no MD5 of something that training used or made",
                where=f"{where}, {entry.get('path')}",
                got=f"hash {entry.get('hash', 'of DVC 2')}",
                expected="hash: md5, as DVC 3 writes it for files of the project",
                next_step="dvc import-url what lies elsewhere, dvc cache migrate what DVC 2 wrote, then dvc repro",
            )
        path = normpath(f"{folder}/{entry['path']}")
        found.append(Tracked(path, digest, int(entry.get("size", 0)), int(entry.get("nfiles", 1))))
    return tuple(found)
