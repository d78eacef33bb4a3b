"""Shards: model runs over packs in pieces that are planned, heard anywhere, kept, and found again after a kill.

Boundary: a worker reads the payload and the pack of its own installation and writes one file a shard below
HOME/shards/RUN; every worker must see the same project and home folder (a shared file system). Hypotheses are
private text: folders and files are for their owner alone, and are removed when the run's reports are in the store.
Invariants: a shard is named by the digest of all that its result depends on (payload, pack, rows, mode, runtime lock);
its file appears whole or not at all, and is adopted only where it holds the digests of its shard and of its table; the
plan is pure, and results do not depend on the size of shards, on their order or on who heard them.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from contracts.digest import Digest, sha256_bytes, sha256_file, short
from contracts.document import Document
from contracts.errors import DependencyFailed, Refused
from operations import compute
from operations.payload import check_payload_folder, payload_folder
from operations.settings import Settings
from registry.store.files import disk, replace_file

if TYPE_CHECKING:
    import pandas as pd

    from evalpacks.pack import Pack

Mode = Literal["batch", "stream"]
"""Whole utterances, or chunk by chunk at the recorded cadence."""

_SHARD_KEY, _TABLE_KEY = b"soundcheck.shard", b"soundcheck.table"

_alone = threading.Lock()


class Wanted(NamedTuple):
    """A payload to hear rows of a pack's table; `chunk_ms` is None for batch."""

    payload: Digest
    pack: str
    pack_digest: Digest
    mode: Mode
    rows: Sequence[int]
    chunk_ms: int | None = None


class Shard(Document):
    """One piece of work; its digest is its name."""

    KIND: ClassVar[str] = "shard"

    payload: Digest
    pack: str
    pack_digest: Digest
    mode: Mode
    rows: tuple[NonNegativeInt, ...]
    chunk_ms: PositiveInt | None
    runtime_lock: Digest

    def label(self) -> str:
        """The shard in words, for progress and task names."""
        return f"{self.pack} {self.mode} {self.rows[0]}-{self.rows[-1]} by {short(self.payload)}"


RunShards = Callable[[str, Sequence[Shard]], Iterator[Digest]]
"""Hears the shards of a run somewhere, in any order; gives a table's digest as each is kept."""


def plan(wanted: Iterable[Wanted], *, size: int, lock: Digest) -> list[Shard]:
    """The shards of what is wanted, each once: payloads take turns, so that progress says the same of all of them."""
    pieces: dict[Shard, int] = {}
    for payload, pack, pack_digest, mode, rows, chunk_ms in wanted:
        for start in range(0, len(rows), size):
            shard = Shard(
                payload=payload,
                pack=pack,
                pack_digest=pack_digest,
                mode=mode,
                rows=tuple(rows[start : start + size]),
                chunk_ms=chunk_ms,
                runtime_lock=lock,
            )
            pieces.setdefault(shard, start)
    return sorted(pieces, key=lambda shard: (shard.mode, pieces[shard]))


def stream_sample(pack: Pack, count: int, seed: int) -> tuple[int, ...]:
    """Rows of at most `count` utterances of a pack, ascending, spread evenly over protected slices and speakers.

    Utterances that are in the same protected slices are one stratum. The next row is always from the stratum with the
    fewest rows so far, in it from the speaker with the fewest, and among equals a seeded draw decides.
    """
    from evalpacks.slices import slice_masks

    table = pack.utterances
    masks = list(slice_masks(table, pack.protected).values()) or [np.ones(len(table), dtype=np.bool_)]
    stratum = np.unique(np.stack(masks, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    speaker = np.unique(table["speaker"].to_numpy(dtype=object), return_inverse=True)[1]
    count = min(count, len(table))
    draw = np.random.default_rng(seed).permutation(len(table)).astype(np.int64)
    taken = np.zeros(len(table), dtype=np.bool_)
    by_stratum, by_speaker = np.zeros(stratum.max() + 1, np.int64), np.zeros(speaker.max() + 1, np.int64)
    for _ in range(count):
        order = (by_stratum[stratum] * (count + 1) + by_speaker[speaker]) * len(table) + draw
        row = int(np.argmin(np.where(taken, np.iinfo(np.int64).max, order)))
        taken[row] = True
        by_stratum[stratum[row]] += 1
        by_speaker[speaker[row]] += 1
    return tuple(int(row) for row in np.flatnonzero(taken))


def runtime_lock(settings: Settings) -> Digest:
    """The digest of the lock file that the workers' packages are from."""
    return sha256_file(settings.root / "requirements.lock")


def here(settings: Settings) -> RunShards:
    """Shards in the shared processes of this machine (operations/compute.py)."""

    def run(name: str, shards: Sequence[Shard]) -> Iterator[Digest]:
        return compute.shared_each([partial(hear, settings, name, shard) for shard in shards])

    return run


def collect(
    settings: Settings,
    run: str,
    shards: Sequence[Shard],
    run_shards: RunShards,
    *,
    on_progress: Callable[[int, int], None],
) -> dict[Shard, pd.DataFrame]:
    """What was heard in every shard; those that an earlier attempt kept are not heard again."""
    missing = [shard for shard in shards if kept(settings, run, shard) is None]
    there = len(shards) - len(missing)
    on_progress(there, len(shards))
    if missing:
        for done, _digest in enumerate(run_shards(run, missing), there + 1):
            on_progress(done, len(shards))
    return {shard: _found(settings, run, shard) for shard in shards}


def tables(heard: Mapping[Shard, pd.DataFrame]) -> dict[tuple[Digest, str, Mode], pd.DataFrame]:
    """Shards put together: a table for each payload, pack and mode, utterances in the pack's order."""
    import pandas as pd

    parts: dict[tuple[Digest, str, Mode], list[Shard]] = {}
    for shard in heard:
        parts.setdefault((shard.payload, shard.pack, shard.mode), []).append(shard)
    return {
        key: pd.concat([heard[shard] for shard in sorted(part, key=lambda shard: shard.rows)], ignore_index=True)
        for key, part in parts.items()
    }


def hear(settings: Settings, run: str, shard: Shard) -> Digest:
    """Hear a shard in this process and keep what was heard; the digest of its table.

    Raises Refused where this installation's pack is not the one that was planned, Corrupt where its payload is not.
    """
    from speech.kinds import kind
    from speech.run import stream_pack
    from speech.runtimes.kinds import task_of, transcriber

    table = kept(settings, run, shard)
    if table is None:
        pack = _pack(settings.pack(shard.pack), shard.pack_digest)
        utterances = pack.utterances.iloc[list(shard.rows)]
        with _alone, compute.naming(f"payload {short(shard.payload)}"):
            model = compute.model(_payload(settings.home, shard.payload))
            if shard.chunk_ms is None:
                table = kind(task_of(model)).run_pack(model, utterances, pack.root)
            else:
                table = stream_pack(transcriber(model), utterances, pack.root, chunk_ms=shard.chunk_ms)
        _keep(settings, run, shard, table)
    return _table_digest(table)


@lru_cache(maxsize=4)
def _payload(home: Path, payload: Digest) -> Path:
    """The payload's folder, verified once in each process."""
    folder = payload_folder(home, payload)
    check_payload_folder(folder, payload)
    return folder


@lru_cache(maxsize=4)
def _pack(folder: Path, digest: Digest) -> Pack:
    from evalpacks.pack import load

    pack = load(folder)
    if pack.digest != digest:
        raise Refused(
            "an eval pack changed while it was scored",
            where=f"pack {pack.name}",
            got=short(pack.digest),
            expected=short(digest),
            next_step="leave data/packs alone while a release runs, and run the release again",
        )
    return pack


def kept(settings: Settings, run: str, shard: Shard) -> pd.DataFrame | None:
    """The table of a shard that was heard before; None where there is no whole file of this very shard."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        stored = pq.read_table(_path(settings, run, shard))
    except (OSError, pa.ArrowException):
        return None
    table: pd.DataFrame = stored.to_pandas()
    said = stored.schema.metadata or {}
    digests = {_SHARD_KEY: shard.digest().encode(), _TABLE_KEY: _table_digest(table).encode()}
    return table if said == digests else None


def _found(settings: Settings, run: str, shard: Shard) -> pd.DataFrame:
    table = kept(settings, run, shard)
    if table is None:
        raise DependencyFailed(
            "a shard was heard, and its result is not in the home folder",
            where=shard.label(),
            expected="one home folder that this process and every worker see",
            next_step="give every worker the same SOUNDCHECK_HOME on a shared file system, then run the release again",
        )
    return table


def _keep(settings: Settings, run: str, shard: Shard, table: pd.DataFrame) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = {_SHARD_KEY: shard.digest(), _TABLE_KEY: _table_digest(table)}
    content = pa.BufferOutputStream()
    arrow = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(metadata)
    pq.write_table(arrow, content)
    path = _path(settings, run, shard)
    with disk("a shard could not be kept", "shards/ in the home folder"):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(path, content.getvalue().to_pybytes(), scratch=path.parent, mode=0o600)


def _table_digest(table: pd.DataFrame) -> Digest:
    return sha256_bytes(table.to_json(orient="split", index=False, double_precision=15).encode())


def _folder(settings: Settings, run: str) -> Path:
    return settings.home / "shards" / run


def _path(settings: Settings, run: str, shard: Shard) -> Path:
    return _folder(settings, run) / f"{shard.digest()}.parquet"


def remove(settings: Settings, run: str) -> None:
    """Forget what was heard in a run."""
    shutil.rmtree(_folder(settings, run), ignore_errors=True)
