"""Which files a payload may hold: an allow-list of formats an engine, checked by structure and not by name.

Boundary: reads the payload folder; nothing is unpickled, unpacked or run.
Invariants: every file is a regular file inside the folder, of a format on its engine's list; a file that is also an
archive (a polyglot) is refused although it would load; a fault is Refused and nothing has changed.
Source: release-algorithm R1.4; faults 46 to 50 and 52.
"""

from __future__ import annotations

import io
import json
import os
import pickletools
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from contracts.bundle import path_fault
from contracts.errors import Refused
from speech.weight_formats import FORMATS

SPHINX = tuple(name for name in FORMATS if name.startswith("Sphinx"))
ALLOWED: dict[str, tuple[str, ...]] = {
    "ctc": ("safetensors", "JSON", "UTF-8 text"),
    "moonshine": ("ORT", "ONNX", "JSON", "UTF-8 text"),
    "pocketsphinx": (*SPHINX, "JSON", "UTF-8 text"),
    "espeak": ("JSON", "UTF-8 text"),
    "studio_voice": ("JSON", "UTF-8 text"),
    "clip_net": ("safetensors", "JSON"),
    "silero": ("ONNX", "JSON"),
    "cascade": tuple(FORMATS),  # its parts are of any engine, and each is checked as its own payload
    "assistant": tuple(FORMATS),  # its parts are of any engine, and each is checked as its own payload
    "resemblyzer": ("safetensors", "JSON"),
}
"""Formats that an engine of speech.runtimes loads; UTF-8 text is for dictionaries and licences."""

OWN = ("safetensors", "ONNX", "ORT", "JSON", "UTF-8 text")
"""Formats that an engine of families/ may load."""

SUFFIXES = {".safetensors": "safetensors", ".onnx": "ONNX", ".ort": "ORT", ".json": "JSON"}
"""A name that promises a format must hold it."""

MAX_FILES = 200

_COMPRESSED = (
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
)
_MAGIC = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, which Keras loads code from"),
    (b"\x93NUMPY", "a NumPy array file"),
    (b"\x7fELF", "a program or shared library"),
    (b"MZ", "a program or shared library"),
    (b"GGUF", "a GGUF model"),
)
_IMPORTS = {"GLOBAL", "STACK_GLOBAL", "INST"}
_CALLS = {"INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE", "BUILD"}
_LOOK = 1 << 20
"""Bytes of a file's start that are looked at when a refusal says what it looks like."""


def check_payload(payload: Path) -> None:
    """Check every file of a payload folder against the allow-list of the engine its runtime.json names (R1.4).

    Raises:
        Refused: naming the file, what it looks like, what is allowed and the next step.
    """
    files = sorted(_files(payload))
    if len(files) > MAX_FILES:
        raise Refused("a payload has too many files", got=f"over {MAX_FILES}", expected=f"at most {MAX_FILES}")
    allowed = ALLOWED.get(_engine(payload), OWN)
    for path in files:
        _check_file(path.relative_to(payload).as_posix(), path.read_bytes(), allowed)


def _check_file(name: str, data: bytes, allowed: tuple[str, ...]) -> None:
    if not data:
        raise _refused("a payload file is empty", name, "0 bytes", allowed)
    if disguise := archive_or_pickle(data):
        raise _refused("a payload file can run code when it is loaded", name, disguise, allowed)
    promised = SUFFIXES.get(Path(name).suffix.lower())
    faults = {kind: FORMATS[kind](data) for kind in allowed if promised in (None, kind)}
    if None not in faults.values():
        got = looks_like(data) or faults.get(promised or "") or _closest(data, faults)
        raise _refused("a payload file is of no format that the engine may load", name, got, allowed)


def archive_or_pickle(data: bytes) -> str | None:
    """What a file that can carry code is: a pickle, an archive, a zip wherever it begins; None for neither.

    A zip's directory stands at a file's end, so that any other format can be in front of it; a pickle may be ASCII and
    so pass for text.
    """
    if packed := _named(data, _COMPRESSED) or _zip(data):
        return packed
    if data[257:262] == b"ustar":
        return "a tar archive, as .nemo files are"
    if protocol := _pickle(data):
        return protocol
    if data[:1] == b"\x78" and (inner := _inflate(data)) and _pickle(inner):
        return "a zlib-compressed pickle, as joblib writes it"
    return None


def looks_like(data: bytes) -> str | None:
    """A name for well-known formats that are not allowed, None for anything else."""
    if name := _named(data, _MAGIC):
        return name
    for kind in ("safetensors", "ONNX", "ORT", *SPHINX):
        if FORMATS[kind](data) is None:
            return f"a file of format {kind}"
    return None


def _named(data: bytes, table: tuple[tuple[bytes, str], ...]) -> str | None:
    return next((name for magic, name in table if data.startswith(magic)), None)


def _zip(data: bytes) -> str | None:
    if b"PK\x05\x06" not in data[-66_000:]:
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError):
        return None
    for name in names:
        if name.endswith((".pkl", ".pickle")):
            return f"a zip archive with a pickle inside ({name}), as torch.save writes it"
    return f"a zip archive of {len(names)} files"


def _pickle(data: bytes) -> str | None:
    """The pickle protocol a file is in, found by reading its instructions (never running them)."""
    binary = len(data) > 1 and data[0] == 0x80 and 2 <= data[1] <= 5
    names: set[str] = set()
    try:
        for operation, argument, _ in pickletools.genops(data):
            if operation.name not in ("GLOBAL", "INST") or _is_import(str(argument)):
                names.add(operation.name)
    except Exception:  # anything that the reader of instructions stumbles over is no complete pickle
        return "a damaged pickle" if binary and len(names) > 2 else None
    if binary:
        return f"a pickle of protocol {data[1]}"
    return "a pickle of protocol 0 or 1" if names & _IMPORTS and names & _CALLS else None


def _is_import(argument: str) -> bool:
    """Whether an instruction's argument is `module name`, which tells a pickle in ASCII from prose."""
    parts = argument.split(" ")
    return len(parts) == 2 and all(word.isidentifier() for part in parts for word in part.split("."))


def _inflate(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, _LOOK)
    except zlib.error:
        return b""


def _closest(data: bytes, faults: dict[str, str | None]) -> str:
    """The fault of the format that the file seems to have been meant for, else its first bytes."""
    seen = [fault for kind, fault in faults.items() if fault and fault.startswith((f"a {kind[:6]}", f"an {kind}"))]
    if data[8:9] == b"{" and (fault := faults.get("safetensors")):
        seen.append(fault)
    return seen[0] if seen else f"unknown bytes: {data[:8].hex(' ')}"


def _files(payload: Path) -> Iterator[Path]:
    """Regular files below the folder; links, devices and paths a bundle cannot hold are refused."""
    for folder, folders, names in os.walk(payload):
        for name in (*folders, *names):
            path = Path(folder, name)
            relative = path.relative_to(payload).as_posix()
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                kind = "a symbolic link" if stat.S_ISLNK(mode) else "a device, pipe or socket"
                raise Refused(
                    "a payload holds something other than a file",
                    where=relative,
                    got=kind,
                    expected="regular files and folders",
                    next_step="put the file itself there",
                )
            if fault := path_fault(relative):
                raise Refused(
                    "a payload has a file name that a bundle cannot hold",
                    where=ascii(relative),
                    got=fault,
                    next_step="rename it",
                )
            if stat.S_ISREG(mode):
                yield path


def _engine(payload: Path) -> str:
    """An engine of ALLOWED, or one of a folder below families/; Refused for another one."""
    from speech.runtimes import FAMILIES  # numpy is imported where a payload is looked at, not by every command

    where = "payload/runtime.json"
    hint = 'write {"engine": "ctc"} there, or the engine that the payload is for'
    try:
        engine = json.loads((payload / "runtime.json").read_bytes())["engine"]
    except FileNotFoundError:
        raise Refused("a payload names no engine", where=where, got="no such file", next_step=hint) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Refused("a payload names no engine", where=where, got="no field 'engine'", next_step=hint) from None
    if not isinstance(engine, str) or (engine not in ALLOWED and not engine.startswith(FAMILIES)):
        raise Refused(
            "unknown engine",
            where=where,
            got=repr(engine),
            expected=" or ".join([*ALLOWED, f"{FAMILIES}NAME"]),
            next_step=hint,
        )
    return engine


def _refused(what: str, name: str, got: str, allowed: tuple[str, ...]) -> Refused:
    return Refused(
        what,
        where=f"payload/{name}",
        got=got,
        expected=" or ".join(allowed),
        next_step="export the weights to a format on the list (safetensors.torch.save_file for torch), take the file "
        "away, and build the candidate again",
    )
