"""Speed of bundles: packing, restoring and the cache against plain tools on the same bytes; folding a long ledger.

Boundary: temporary folders and a real S3 server (SeaweedFS, started here); what is timed is the product's own path
(`pack`, `restore`, `cached`, `Ledger.state`).
Invariants: each peer handles exactly the bytes of the bundle, in the same run, in turns; before each turn the disk is
synced and the target of the turn before is removed, outside the clock; what ours restores is compared with the source
before there is a figure. Ours digests and syncs everything it writes; `cp` and boto3 sync nothing and boto3 digests
nothing, so the ratios are what integrity costs.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import frame
from contracts.digest import Digest
from contracts.ledger_event import GENESIS, LedgerEvent
from registry import snapshots
from registry.bundle import assemble, cached, freeze, restore, verify_folder
from registry.folders import THREADS
from registry.ledger import Ledger, fold
from registry.release_state import ReleaseState
from registry.store import Store
from registry.store.local import LocalStore

MEGABYTE = 1_000_000
EVENTS = 100_000
FAMILY = "asr"
DECODER = "payload/decoder.json"
PEER_FILES = 8
"""Files that the plain boto3 download has under way; each may itself come in ten parts (TransferConfig's default)."""


class Mix(NamedTuple):
    """(how many files, bytes of each) of a bundle: weights, middling tables, golden clips."""

    large: tuple[int, int] = (1, 200 * MEGABYTE)
    middle: tuple[int, int] = (8, 8 * MEGABYTE)
    small: tuple[int, int] = (300, 100_000)


MIX = Mix()


def measure(progress: frame.Progress) -> frame.Result:
    """The figures of benchmarks.md, and some beside them."""
    with tempfile.TemporaryDirectory(prefix="soundcheck-benchmark-") as folder:
        work = Path(folder)
        source = make_bundle(work / "source", MIX)
        figures = _local(work, source, progress)
        figures |= _s3(work, source, progress)
        figures |= _ledger(work, progress)
    return frame.Result(_settings(), figures)


def _settings() -> dict[str, Any]:
    mix = {name: f"{count} of {size:,} bytes" for name, (count, size) in MIX._asdict().items()}
    return {
        "bundle": mix,
        "bytes": sum(count * size for count, size in MIX),
        "sha256sum": "one process of coreutils over all files; hashlib: one thread of OpenSSL over all files",
        "cp_sha256sum": "cp -r, then sha256sum over the copies; nothing is synced",
        "boto3": f"download_file with TransferConfig's defaults, {PEER_FILES} files at once; nothing is digested",
        "digesting": f"hashlib over all files in {THREADS} threads, as many as ours",
        "s3_server": "SeaweedFS on loopback, on the same cores",
        "page_cache": "warm for all",
        "ledger": f"{EVENTS:,} events on a disk, ten a release, and {snapshots.EVERY - 1} after the newest snapshot",
    }


def make_bundle(folder: Path, mix: Mix) -> Path:
    """A folder laid out like a bundle, of bytes that nothing compresses; equal for equal mixes."""
    noise = random.Random(7)
    names = {
        "large": "payload/weights-{}.safetensors",
        "middle": "payload/table-{}.bin",
        "small": "golden/audio/{}.wav",
    }
    for kind, (count, size) in mix._asdict().items():
        for number in range(count):
            path = folder / names[kind].format(f"{number:03d}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(noise.randbytes(size))
    (folder / DECODER).write_bytes(b'{"beam":8}')
    return folder


def _local(work: Path, source: Path, progress: frame.Progress) -> dict[str, frame.Figure]:
    store = LocalStore(work / "store")
    bundle = _packed(store, source)
    files = sorted(path for path in source.rglob("*") if path.is_file())
    cached(store, bundle, work / "cache")
    progress("local")
    seconds = _in_turns(
        work,
        {
            "pack": lambda target: _packed(LocalStore(target), source),
            "sha256sum": lambda _target: _sha256sum(files),
            "hashlib": lambda _target: [_digest(path) for path in files],
            "restore": lambda target: restore(store, bundle, target),
            "cp_sha256sum": lambda target: _copy_and_digest(source, target),
            "cached": lambda _target: cached(store, bundle, work / "cache"),
            "digesting": lambda _target: _digest_all(files),
        },
        progress,
    )
    _refuse_difference(store, bundle, work / "check")
    return {
        "pack_over_sha256sum": _speed(seconds, "pack", "sha256sum", must=0.7),
        "pack_over_hashlib": _speed(seconds, "pack", "hashlib"),
        "restore_over_cp_sha256sum": _speed(seconds, "restore", "cp_sha256sum", must=0.6),
        "cached_restore_over_digesting": _speed(seconds, "cached", "digesting", must=0.9),
        **{f"{name}_s": frame.median_of(taken, "s", "lower") for name, taken in seconds.items()},
    }


def _s3(work: Path, source: Path, progress: frame.Progress) -> dict[str, frame.Figure]:
    from registry.store.s3 import S3Store
    from tests.servers.seaweed import running, s3_client

    with running(work / "server") as server:
        client = s3_client(server)
        client.create_bucket(Bucket="bench")
        store = S3Store(client, "bench", "store")
        progress("upload")
        bundle = _packed(store, source)
        names = {path.relative_to(source).as_posix(): path for path in source.rglob("*") if path.is_file()}
        for name, path in names.items():
            client.upload_file(str(path), "bench", f"plain/{name}")
        seconds = _in_turns(
            work,
            {
                "s3_restore": lambda target: restore(store, bundle, target),
                "boto3": lambda target: _download(client, list(names), target),
            },
            progress,
        )
        _refuse_difference(store, bundle, work / "check")
        (source / DECODER).write_bytes(b'{"beam":9}')
        with _uploaded(client) as sent:
            _packed(store, source)
    return {
        "s3_restore_over_boto3": _speed(seconds, "s3_restore", "boto3", must=0.9),
        **{f"{name}_s": frame.median_of(taken, "s", "lower") for name, taken in seconds.items()},
        "decoder_only_upload_bytes": frame.Figure(sum(sent), "bytes", "lower", must=MEGABYTE),
    }


def _ledger(work: Path, progress: frame.Progress) -> dict[str, frame.Figure]:
    store = LocalStore(work / "ledger")
    progress(f"write a ledger of {EVENTS:,} events")
    state = write_ledger(store, EVENTS + snapshots.EVERY - 1)

    def look() -> None:
        if Ledger(store, FAMILY).state() != state:
            raise AssertionError("the ledger folds to another state from its snapshot")

    seconds = frame.interleaved({"fold": look}, progress=progress)
    return {"fold_100k_events_s": frame.median_of(seconds["fold"], "s", "lower", must=1)}


def write_ledger(store: LocalStore, count: int) -> ReleaseState:
    """A chained ledger of `count` events with its newest snapshot, unsynced; the state it folds to."""
    folder = store.root / "ledger" / FAMILY
    folder.mkdir(parents=True)
    previous, newest = GENESIS, count // snapshots.EVERY * snapshots.EVERY
    state, events = ReleaseState(family=FAMILY), []
    steps = ("capture", "register", "score", "gate", "package", "stage", "canary", "approve", "promote", "route")
    for sequence in range(count):
        release = hashlib.sha256(b"%d" % (sequence // len(steps))).hexdigest()
        event = LedgerEvent(
            family=FAMILY, sequence=sequence, previous=previous, at="2026-11-20T14:02:31Z",
            step=steps[sequence % len(steps)], outcome="complete", release=release,
            outputs={"bundle": release, "route_table": release}, data={"version": f"v{sequence // len(steps)}"},
        )  # fmt: skip
        content = event.to_bytes()
        (folder / f"{sequence:012d}").write_bytes(content)
        previous = hashlib.sha256(content).hexdigest()
        events.append(event)
        if sequence + 1 == newest:
            state, events = fold(events, state), []
            snapshots.write(store, state)
    return fold(events, state)


def _in_turns(
    work: Path, arms: Mapping[str, Callable[[Path], object]], progress: frame.Progress
) -> dict[str, list[float]]:
    """Seconds of each arm in each run after one to warm up; each call gets a target that does not exist."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(frame.MIN_RUNS + 1):
        for name, arm in arms.items():
            os.sync()
            taken = frame.seconds_of(partial(arm, work / name))
            shutil.rmtree(work / name, ignore_errors=True)
            if turn:
                seconds[name].append(taken)
        last = " ".join(f"{name} {taken[-1]:.2f} s" for name, taken in seconds.items() if taken)
        progress(f"run {turn} of {frame.MIN_RUNS}: {last}" if turn else "warm")
    return seconds


def _speed(seconds: Mapping[str, list[float]], ours: str, peer: str, must: float | None = None) -> frame.Figure:
    """Our speed over the peer's: the peer's seconds over ours."""
    return frame.ratio(seconds[peer], seconds[ours], better="higher", must=must)


def _packed(store: Store, source: Path) -> Digest:
    return freeze(store, source, assemble(source, family=FAMILY, version="v1"))


def _sha256sum(files: list[Path]) -> None:
    subprocess.run(["sha256sum", "--", *map(str, files)], check=True, stdout=subprocess.DEVNULL)


def _copy_and_digest(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-r", str(source), str(target)], check=True)
    _sha256sum([path for path in target.rglob("*") if path.is_file()])


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _digest_all(files: list[Path]) -> list[str]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(_digest, files))


def _download(client: Any, names: list[str], target: Path) -> None:
    from boto3.s3.transfer import TransferConfig

    for folder in {(target / name).parent for name in names}:
        folder.mkdir(parents=True, exist_ok=True)

    def one(name: str) -> None:
        client.download_file("bench", f"plain/{name}", str(target / name), Config=TransferConfig())

    with ThreadPoolExecutor(PEER_FILES) as pool:
        list(pool.map(one, names))


@contextmanager
def _uploaded(client: Any) -> Iterator[list[int]]:
    """Bytes of the body of every request that is sent."""
    sent: list[int] = []

    def count(request: Any, **_: Any) -> None:
        sent.append(int(request.headers.get("Content-Length") or 0))

    client.meta.events.register("before-send.s3", count)
    try:
        yield sent
    finally:
        client.meta.events.unregister("before-send.s3", count)


def _refuse_difference(store: Store, bundle: Digest, folder: Path) -> None:
    manifest = restore(store, bundle, folder)
    if faults := verify_folder(folder, manifest):
        raise AssertionError(f"what was restored is not what was packed: {faults[:3]}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    frame.main(measure)
