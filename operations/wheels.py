"""R5.6 Wheels: what serving needs of a runtime lock, kept in the store once per lock and platform, and given back.

Boundary: the store; pip, which gathers wheels from the index and the folders that it is configured with.
Invariants: every wheel is one that the lock pins; a wheelhouse counts only under the builder's signature, its wheels
only by their digests; once kept, no index is needed.

Which wheels: SERVING names what a serving process imports. Their extras come from the metadata of our own distribution,
what they need in turn from the metadata of the wheels, as pip resolves it with the lock as its constraints. All of the
lock is not kept: most of it trains, scores and orchestrates.

Where: `wheelhouses/LOCK/PLATFORM/N`, created once, holds the envelope of a Wheelhouse; the newest that counts is the
one. A next one is written where none counts, because a key was revoked, or where a wheel is missing.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from contracts.digest import Digest, sha256_bytes, short
from contracts.errors import AlreadyExists, Corrupt, DependencyFailed, NotFound, Refused, SoundcheckError, WrongCall
from contracts.train_manifest import FileEntry
from contracts.wheelhouse import WHEELHOUSES, Pin, Wheelhouse, pin_of, spelled
from operations import keys
from operations.context import Context, log
from registry.bundle import load_manifest
from registry.folders import TRANSFERS, each
from registry.keyring import EVERY_REASON, Position
from registry.provenance import DISTRIBUTION
from registry.signing import sign, verify_envelope
from registry.store import Store
from registry.store.files import (
    SCRATCH_FOLDER,
    disk,
    make_folder,
    new_file,
    scratch_folder,
    sweep,
    sync_files,
    sync_folder,
    write_all,
)

SERVING = (
    "boto3", "click", "fastapi", "in-toto-attestation", "jinja2", "numpy", "onnxruntime",
    "opentelemetry-exporter-otlp-proto-http", "opentelemetry-sdk", "pandas", "pocketsphinx", "prometheus-client",
    "pyarrow", "pydantic", "python-multipart", "pyyaml", "rfc8785", "safetensors", "securesystemslib", "soundfile",
    "soxr", "torch", "uvicorn", "webrtcvad-wheels", "websockets",
)  # fmt: skip
"""What gateway and workers import, loaded by name (python-multipart) or not; tests hold it against the imports."""
WHEELHOUSE_TYPE = "https://soundcheck.invalid/predicates/wheelhouse/v1"
"""Predicate of a builder's signature: a Wheelhouse; the subject is the lock."""
OUTPUT = "wheelhouse"
"""The output of a package event that names the envelope."""
REQUIREMENTS = "requirements.txt"
INSTALL = "pip install --no-index --find-links {folder} --require-hashes -r {folder}/" + REQUIREMENTS
"""What installs restored wheels: without an index, and nothing that the wheelhouse does not name by its digest."""
LOCK_FILE, LOCK_IN_BUNDLE = "requirements.lock", "runtime.lock"
GATHER_S = 1800.0
"""Seconds that pip may take."""
_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;#\\]+)", re.MULTILINE)
_NEED = re.compile(r"([A-Za-z0-9][\w.-]*)\s*(\[[^\]]*\])?")


class Kept(NamedTuple):
    """A wheelhouse in the store: `envelope` is the digest of its envelope, `gathered` whether it is new."""

    wheelhouse: Wheelhouse
    envelope: Digest
    gathered: bool = False


def platform() -> str:
    """Interpreter and machine of this process, as wheels tell them apart: `cp311-linux-x86_64`."""
    return f"cp{sys.version_info.major}{sys.version_info.minor}-{sysconfig.get_platform()}"


def needs() -> list[str]:
    """What serving needs directly, with extras and without versions: the lock has those."""
    found = {}
    for need in importlib.metadata.requires(DISTRIBUTION) or ():
        if match := _NEED.match(need):
            found[spelled(match[1])] = spelled(match[1]) + (match[2] or "")
    return [found[name] for name in SERVING]


def pins(lock: bytes) -> frozenset[Pin]:
    """What a lock pins; build labels (`+cpu`) aside."""
    found = _PIN.findall(lock.decode(errors="replace"))
    return frozenset(Pin(spelled(name), version.partition("+")[0]) for name, version in found)


def keep(context: Context, lock: bytes) -> Kept:
    """The wheelhouse of a lock for this platform; gathered, signed and stored where the store has none that is whole.

    Raises DependencyFailed where pip cannot gather the wheels, Refused where they are not those of the lock.
    """
    name = sha256_bytes(lock)
    kept = find(context, name)
    if kept and _whole(context.store, kept.wheelhouse):
        return kept
    wheelhouse = _gather(context, lock)
    envelope = sign(wheelhouse, {"lock": name}, WHEELHOUSE_TYPE, keys.builder(context))
    standing = _envelopes(context.store, name)
    if envelope not in standing:
        _create(context, name, len(standing), envelope)
    return Kept(wheelhouse, sha256_bytes(envelope), gathered=True)


def find(context: Context, lock: Digest) -> Kept | None:
    """The newest wheelhouse of a lock for this platform that counts, None where there is none."""
    for envelope in reversed(_envelopes(context.store, lock)):
        try:
            return Kept(_checked(context, envelope, lock), sha256_bytes(envelope))
        except DependencyFailed:
            raise
        except SoundcheckError as error:
            log.warning("wheels of lock %s do not count: %s", short(lock), error.what)
    return None


def read_lock(context: Context, name: str | None) -> bytes:
    """A lock: a file, the digest of one in the store, or the project's own."""
    path = Path(name) if name else context.settings.root / LOCK_FILE
    if path.is_file():
        with disk("a runtime lock could not be read", str(path)):
            return path.read_bytes()
    if name and re.fullmatch("[0-9a-f]{64}", name):
        return context.store.read_blob(name)
    raise WrongCall(
        "there is no such runtime lock",
        where=str(path),
        expected="a file, or the digest of a lock that is in the store",
    )


def restore_wheels(context: Context, bundle: Digest, into: Path) -> Wheelhouse:
    """Write the wheels of a bundle's lock into a folder, each digested as it is written, with REQUIREMENTS for pip.

    A folder that has them already is left. Raises Refused where the store has none that count here, AlreadyExists for a
    folder with something else; Corrupt, NotFound or DependencyFailed leave no folder.
    """
    lock = load_manifest(context.store, bundle).files[LOCK_IN_BUNDLE].sha256
    kept = find(context, lock)
    if kept is None:
        raise _none(context.store, lock)
    if not _is_there(kept.wheelhouse, into):
        with disk("wheels could not be restored", str(into)):
            make_folder(into.parent)
            sweep(into.parent, SCRATCH_FOLDER + "*")
            with scratch_folder(into) as scratch:
                _write(context, kept.wheelhouse, scratch / "wheels")
                (scratch / "wheels").rename(into)
            sync_folder(into.parent)
    return kept.wheelhouse


def _none(store: Store, lock: Digest) -> Refused:
    others = sorted({key.split("/")[2] for key in store.list(f"{WHEELHOUSES}{lock}/")})
    return Refused(
        "the store has no wheels of this runtime lock that count here",
        where=f"{store.url}, lock {short(lock)}",
        got="wheels for " + ", ".join(others) if others else "none",
        expected=f"wheels for {platform()}, signed by the builder",
        next_step=f"soundcheck wheels {lock}, on such a machine and where pip has an index",
    )


def _is_there(wheelhouse: Wheelhouse, into: Path) -> bool:
    """Whether a folder has these wheels; it got its name when it was whole."""
    requirements = into / REQUIREMENTS
    if requirements.is_file() and requirements.read_text() == wheelhouse.requirements():
        return True
    if into.exists():
        raise AlreadyExists(
            "there is a folder for the wheels already", where=str(into), next_step="name a folder that does not exist"
        )
    return False


def _write(context: Context, wheelhouse: Wheelhouse, folder: Path) -> None:
    folder.mkdir()

    def copy(name: str) -> None:
        context.store.copy_blob(wheelhouse.wheels[name].sha256, folder / name, sync=False)

    names = list(wheelhouse.wheels)
    for done, _ in enumerate(each(names, copy, threads=TRANSFERS), start=1):
        context.progress("restore the wheels", done, len(names))
    with new_file(folder / REQUIREMENTS) as requirements:
        write_all(requirements, wheelhouse.requirements().encode())
    sync_files(folder / name for name in names)
    sync_folder(folder)


def _key(lock: Digest, number: int) -> str:
    return f"{WHEELHOUSES}{lock}/{platform()}/{number}"


def _envelopes(store: Store, lock: Digest) -> list[bytes]:
    """All of them, by number; read upward, never listed (fault 17)."""
    found: list[bytes] = []
    while True:
        try:
            found.append(store.read(_key(lock, len(found))))
        except NotFound:
            return found


def _create(context: Context, lock: Digest, number: int, envelope: bytes) -> None:
    try:
        context.store.create(_key(lock, number), envelope)
    except AlreadyExists as error:
        raise DependencyFailed(
            "somebody else has just kept the wheels of this lock",
            where=error.where,
            next_step="run the same command again: it takes those",
        ) from None


def _checked(context: Context, envelope: bytes, lock: Digest) -> Wheelhouse:
    """What a builder signed about this lock; a key that was revoked since counts where a package event named it."""
    name = sha256_bytes(envelope)
    events = (event for family in context.settings.families for event in context.ledger(family).events())
    named = (Position(event.family, event.sequence) for event in events if event.outputs.get(OUTPUT) == name)
    statement = verify_envelope(
        envelope, keys.ring(context), role="builder", predicate_type=WHEELHOUSE_TYPE, subject=lock,
        at=next(named, None), kept=EVERY_REASON,
    )  # fmt: skip
    wheelhouse = statement.document(Wheelhouse)
    if (wheelhouse.lock, wheelhouse.platform) != (lock, platform()):
        raise Corrupt("a wheelhouse is of another lock or platform", got=wheelhouse.platform, expected=platform())
    return wheelhouse


def _whole(store: Store, wheelhouse: Wheelhouse) -> bool:
    asked = each([entry.sha256 for entry in wheelhouse.wheels.values()], store.keep_blob, threads=TRANSFERS)
    return all(there for _, there in asked)


def _gather(context: Context, lock: bytes) -> Wheelhouse:
    """Let pip fetch the wheels below the home folder, check them against the lock, put them and it into the store."""
    cache = context.home / "cache" / "wheels"
    context.progress("gather the wheels", 0, 1)
    with disk("wheels could not be gathered", str(cache)):
        make_folder(cache)
        sweep(cache, SCRATCH_FOLDER + "*")
        with scratch_folder(cache / "gathered") as scratch:
            (scratch / "lock.txt").write_bytes(lock)
            _download(scratch)
            wheels = sorted((scratch / "wheels").iterdir())
            context.progress("gather the wheels", 1, 1)
            refuse_unpinned((path.name for path in wheels), lock)
            entries = {}
            for done, (path, digest) in enumerate(each(wheels, context.store.put_blob, threads=TRANSFERS), start=1):
                entries[path.name] = FileEntry(sha256=digest, size=path.stat().st_size)
                context.progress("store the wheels", done, len(wheels))
    return Wheelhouse(lock=context.store.put_blob(lock), platform=platform(), wheels=dict(sorted(entries.items())))


def _download(folder: Path) -> None:
    """`pip download` of what serving needs, held to folder/lock.txt; wheels only, so that no code of theirs runs."""
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input",
        "--only-binary", ":all:", "--constraint", "lock.txt", "--dest", "wheels", *needs(),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=GATHER_S, check=False)
    except subprocess.TimeoutExpired:
        said = f"no end after {GATHER_S:g} s"
    else:
        if done.returncode == 0:
            return
        lines = done.stderr.strip().splitlines() or ["nothing was said"]
        said = next((line for line in lines if line.startswith("ERROR")), lines[-1]).removeprefix("ERROR: ")
    raise DependencyFailed(
        "the wheels of the runtime lock could not be gathered",
        where="pip download",
        got=said,
        expected="where pip looks, a wheel of every version that the lock pins (other versions are conflicts to pip)",
        next_step="`pip config list` shows where pip looks; or set store.wheels to false in params.yaml",
    )


def refuse_unpinned(wheels: Iterable[str], lock: bytes) -> None:
    """Raise Refused for wheels of packages or versions that the lock does not pin."""
    pinned = pins(lock)
    found = ((pin := pin_of(wheel), Pin(pin.name, pin.version.partition("+")[0])) for wheel in wheels)
    foreign = [f"{pin.name} {pin.version}" for pin, plain in found if plain not in pinned]
    if foreign:
        raise Refused(
            "serving needs packages that the runtime lock does not pin",
            where=f"lock {short(sha256_bytes(lock))}",
            got=", ".join(foreign),
            expected="every package that serving needs, at one version",
            next_step="make lock, then release again",
        )
