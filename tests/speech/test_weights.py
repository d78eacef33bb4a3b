"""Payload files are believed by their structure alone (R1.4; faults 46, 48, 49, 50, 52)."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import Refused
from speech import weight_formats
from speech.weights import ALLOWED, archive_or_pickle, check_payload


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/soundcheck-was-here",)


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(members: dict[str, bytes], mode: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def tensors(header: dict[str, Any] | bytes, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(begin: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def field(number: int, value: int | bytes) -> bytes:
    """One protobuf field; numbers below 128 alone."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    length = bytes([len(value)]) if len(value) < 128 else bytes([len(value) & 0x7F | 0x80, len(value) >> 7])
    return bytes([number << 3 | 2]) + length + value


def onnx(tensor: bytes) -> bytes:
    return field(1, 8) + field(8, field(2, 17)) + field(7, field(2, b"graph") + field(5, tensor))


def ort(tail: bytes = b"") -> bytes:
    """A small flatbuffer of the ORT form: root table with a version string and a model."""
    vtable = struct.pack("<HHHH", 8, 12, 4, 8)
    table = struct.pack("<iII", 8, 8, 8)
    return struct.pack("<I", 16) + b"ORTM" + vtable + table + struct.pack("<I", 1) + b"6\0\0\0" + bytes(16) + tail


def sphinx(values: list[float], *, counts: tuple[int, ...] = (1, 1, 2), total: int | None = None) -> bytes:
    head = b"s3\nversion 1.0\nchksum0 yes\nendhdr\n" + struct.pack("<I", 0x11223344)
    numbers = struct.pack(f"<{len(counts) + 1}i", *counts, len(values) if total is None else total)
    return head + numbers + struct.pack(f"<{len(values)}f", *values) + bytes(4)


def one(dtype: str, bits: bytes) -> bytes:
    """A safetensors file of one number."""
    return tensors({"w": entry(0, len(bits), [1], dtype)}, bits)


GOOD_TENSORS = safetensors.numpy.save({"weight": np.ones((2, 3), np.float32), "bias": np.zeros(3, np.float32)})
PICKLE = pickle.dumps({"weight": Evil()}, protocol=4)
ASCII_PICKLE = pickle.dumps(Evil(), protocol=0)
TORCH = zipped({"archive/data.pkl": PICKLE, "archive/data/0": bytes(16)})
EXTERNAL = field(13, field(1, b"location") + field(2, b"../../etc/passwd")) + field(14, 1)

WORST = (("BF16", b"\xc0\x7f"), ("F8_E4M3", b"\xff"), ("F8_E5M2", b"\x7e"), ("F64", bytes(6) + b"\xf0\xff"))
"""NaN or infinity, by type."""

REFUSED: list[tuple[str, str, str, bytes, str]] = [
    # what it is, engine, file name, content, what the message says it looks like
    ("a pickle", "ctc", "weights.pkl", PICKLE, "a pickle of protocol 4"),
    ("a pickle renamed", "ctc", "weights.safetensors", PICKLE, "a pickle of protocol 4"),
    ("an ASCII pickle as text", "ctc", "notes.txt", ASCII_PICKLE, "a pickle of protocol 0 or 1"),
    ("an old binary pickle", "ctc", "weights.bin", pickle.dumps(Evil(), protocol=1), "a pickle of protocol 0 or 1"),
    ("a cut-off pickle", "ctc", "weights.bin", PICKLE[:-5], "a damaged pickle"),
    ("a torch file", "ctc", "weights.pt", TORCH, "a zip archive with a pickle inside (archive/data.pkl)"),
    ("a torch file renamed", "moonshine", "encoder.ort", TORCH, "a zip archive with a pickle inside"),
    ("a NeMo file", "ctc", "model.nemo", tarred({"model_weights.ckpt": PICKLE}, "w"), "a tar archive"),
    ("a NeMo file, gzipped", "ctc", "model.nemo", tarred({"model.ckpt": TORCH}, "w:gz"), "a gzip archive"),
    ("a joblib file", "ctc", "model.joblib", zlib.compress(PICKLE), "a zlib-compressed pickle"),
    ("a gzipped pickle", "ctc", "weights.safetensors", gzip.compress(PICKLE), "a gzip archive"),
    (
        "safetensors with a zip behind",
        "ctc",
        "weights.safetensors",
        GOOD_TENSORS + TORCH,
        "a zip archive with a pickle",
    ),
    ("ORT with a zip behind", "moonshine", "encoder.ort", ort(TORCH), "a zip archive with a pickle inside"),
    ("text with a zip behind", "ctc", "notes.txt", b"hello\n" + zipped({"a": b"b"}), "a zip archive of 1 files"),
    ("a huge header", "ctc", "w.safetensors", struct.pack("<Q", 1 << 40) + b"{}", "declares a header of 1099511627776"),
    ("a header past the end", "ctc", "w.safetensors", struct.pack("<Q", 90) + b"{}", "declares a header of 90 bytes"),
    ("a header that is no JSON", "ctc", "w.safetensors", tensors(b"{nonsense}"), "its safetensors header is not JSON"),
    (
        "duplicate tensor names",
        "ctc",
        "w.safetensors",
        tensors(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{}}'),
        "duplicate key",
    ),
    (
        "overlapping tensors",
        "ctc",
        "w.safetensors",
        tensors({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, bytes(12)),
        "tensor 'b' overlaps the one before it",
    ),
    (
        "a tensor out of range",
        "ctc",
        "w.safetensors",
        tensors({"a": entry(0, 8, [2])}, bytes(4)),
        "tensor 'a' ends at byte 8 of 4",
    ),
    (
        "a hole between tensors",
        "ctc",
        "w.safetensors",
        tensors({"a": entry(4, 8, [1])}, bytes(8)),
        "4 bytes before tensor 'a' belong to no tensor",
    ),
    (
        "bytes after the tensors",
        "ctc",
        "w.safetensors",
        GOOD_TENSORS + b"payload",
        "7 bytes after the last tensor belong to no tensor",
    ),
    (
        "a shape that does not fit",
        "ctc",
        "w.safetensors",
        tensors({"a": entry(0, 8, [3])}, bytes(8)),
        "offsets [0, 8] that do not fit its shape [3]",
    ),
    (
        "NaN weights",
        "ctc",
        "w.safetensors",
        safetensors.numpy.save({"w": np.array([1.0, np.nan], np.float32)}),
        "tensor 'w' holds NaN or infinity",
    ),
    (
        "infinite weights",
        "ctc",
        "w.safetensors",
        safetensors.numpy.save({"w": np.array([np.inf], np.float16)}),
        "tensor 'w' holds NaN or infinity",
    ),
    *((f"{dtype} that is not finite", "ctc", "w.safetensors", one(dtype, bits), "holds NaN") for dtype, bits in WORST),
    ("text named safetensors", "ctc", "w.safetensors", b"these are weights, honestly", "a header of"),
    ("ONNX with external data", "moonshine", "encoder.onnx", onnx(EXTERNAL), "a tensor outside of the file"),
    ("ORT without its identifier", "moonshine", "encoder.ort", b"\x14\0\0\0TFL3" + bytes(40), "without the identifier"),
    ("ORT that ends early", "moonshine", "encoder.ort", ort()[:30], "an ORT file that ends too early"),
    ("ORT for an engine without it", "ctc", "encoder.ort", ort(), "a file of format ORT"),
    ("safetensors for pocketsphinx", "pocketsphinx", "means", GOOD_TENSORS, "a file of format safetensors"),
    ("Sphinx counts that lie", "pocketsphinx", "means", sphinx([1.0, 2.0], total=9), "counts do not fit its size"),
    ("Sphinx with NaN", "pocketsphinx", "means", sphinx([1.0, float("nan")]), "holds NaN or infinity"),
    ("a program", "ctc", "run", b"\x7fELF" + bytes(60), "a program or shared library"),
    ("a Keras file", "ctc", "model.h5", b"\x89HDF\r\n\x1a\n" + bytes(60), "an HDF5 file"),
    ("a NumPy file", "ctc", "weights.npy", b"\x93NUMPY\x01\x00" + bytes(60), "a NumPy array file"),
    ("an empty file", "ctc", "weights.safetensors", b"", "0 bytes"),
    ("JSON with NaN", "ctc", "decoder.json", b'{"beam": NaN}', "not JSON: NaN is not JSON"),
    ("JSON with duplicate keys", "ctc", "decoder.json", b'{"beam": 1, "beam": 2}', "not JSON: duplicate key"),
    ("JSON nested too deeply", "ctc", "decoder.json", b"[" * 200_000, "not JSON"),
    ("unknown bytes", "ctc", "blob.bin", bytes(range(128, 255)), "unknown bytes: 80 81 82"),
]


def payload(folder: Path, engine: str, **files: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "runtime.json").write_text(json.dumps({"engine": engine}))
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("engine", "name", "content", "looks"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_a_wrong_file_is_refused_by_name_look_and_next_step(
    tmp_path: Path, engine: str, name: str, content: bytes, looks: str
) -> None:
    with pytest.raises(Refused) as refusal:
        check_payload(payload(tmp_path / "payload", engine, **{name: content}))
    assert refusal.value.where == f"payload/{name}"
    assert looks in refusal.value.got
    assert refusal.value.expected == " or ".join(ALLOWED[engine])
    assert "build the candidate again" in refusal.value.next_step
    assert not Path("/tmp/soundcheck-was-here").exists()


def test_the_message_of_a_pickle_in_full(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refusal:
        check_payload(payload(tmp_path / "payload", "ctc", **{"weights.safetensors": TORCH}))
    assert refusal.value.diagnostics() == (
        "a payload file can run code when it is loaded\n"
        "  where: payload/weights.safetensors\n"
        "  got: a zip archive with a pickle inside (archive/data.pkl), as torch.save writes it\n"
        "  expected: safetensors or JSON or UTF-8 text\n"
        "  next step: export the weights to a format on the list (safetensors.torch.save_file for torch), take the "
        "file away, and build the candidate again"
    )


LARGEST = (("BF16", b"\x7f\x7f"), ("F8_E4M3", b"\xfe"), ("F8_E5M2", b"\x7b"), ("F64", b"\xff" * 6 + b"\xef\x7f"))

GOOD: list[tuple[str, str, bytes]] = [
    ("ctc", "weights.safetensors", GOOD_TENSORS),
    ("ctc", "renamed.bin", GOOD_TENSORS),
    *(("ctc", f"largest-{dtype}.safetensors", one(dtype, bits)) for dtype, bits in LARGEST),
    ("ctc", "tokenizer.json", b'["a", "b"]'),
    ("ctc", "LICENSE", "Copyright © 2026. No.\n".encode()),
    ("moonshine", "encoder.ort", ort()),
    ("moonshine", "encoder.onnx", onnx(field(2, 1) + field(8, b"weight"))),
    ("pocketsphinx", "means", sphinx([1.0, 2.0])),
    ("pocketsphinx", "dictionary.dict", b"cat K AE T\ncos K AO S\n"),
]


@pytest.mark.parametrize(("engine", "name", "content"), GOOD, ids=[row[1] for row in GOOD])
def test_an_allowed_file_passes(tmp_path: Path, engine: str, name: str, content: bytes) -> None:
    check_payload(payload(tmp_path / "payload", engine, **{name: content}))


def test_what_torch_and_joblib_write_is_found_wherever_it_hides(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.ones(2)}, tmp_path / "new.pt")
    torch.save({"w": torch.ones(2)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert "pickle inside" in str(archive_or_pickle((tmp_path / "new.pt").read_bytes()))
    assert "a pickle of protocol 2" in str(archive_or_pickle((tmp_path / "old.pt").read_bytes()))


RUNTIME_JSON: list[tuple[str, bytes | None, str]] = [
    ("missing", None, "no such file"),
    ("not JSON", b"engine: ctc", "no field 'engine'"),
    ("no engine", b"{}", "no field 'engine'"),
    ("a list", b"[1]", "no field 'engine'"),
    ("unknown", b'{"engine": "eval"}', "'eval'"),
]


@pytest.mark.parametrize(("content", "got"), [row[1:] for row in RUNTIME_JSON], ids=[row[0] for row in RUNTIME_JSON])
def test_a_payload_without_a_known_engine_is_refused(tmp_path: Path, content: bytes | None, got: str) -> None:
    if content is not None:
        (tmp_path / "runtime.json").write_bytes(content)
    with pytest.raises(Refused) as refusal:
        check_payload(tmp_path)
    assert refusal.value.where == "payload/runtime.json"
    assert refusal.value.got == got


def link_outside(folder: Path) -> None:
    (folder / "weights.safetensors").symlink_to("/etc/passwd")


def link_to_folder(folder: Path) -> None:
    (folder / "data").symlink_to("/etc")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "weights.safetensors")


@pytest.mark.parametrize(
    ("plant", "got"),
    [(link_outside, "a symbolic link"), (link_to_folder, "a symbolic link"), (pipe, "a device, pipe or socket")],
)
def test_only_regular_files_make_a_payload(tmp_path: Path, plant: Callable[[Path], None], got: str) -> None:
    plant(payload(tmp_path / "payload", "ctc"))
    with pytest.raises(Refused, match="something other than a file") as refusal:
        check_payload(tmp_path / "payload")
    assert refusal.value.got == got


def test_names_that_a_bundle_cannot_hold_are_refused(tmp_path: Path) -> None:
    payload(tmp_path / "payload", "ctc", **{"we\u202eights.json": b"{}"})
    with pytest.raises(Refused, match="a file name that a bundle cannot hold"):
        check_payload(tmp_path / "payload")


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    payload(tmp_path / "payload", "ctc", **{f"{number}.json": b"{}" for number in range(201)})
    with pytest.raises(Refused, match="too many files"):
        check_payload(tmp_path / "payload")


@given(st.binary(max_size=400))
def test_law_no_bytes_make_a_check_fail_in_another_way_than_by_a_fault(data: bytes) -> None:
    archive_or_pickle(data)
    for check in weight_formats.FORMATS.values():
        assert check(data) is None or isinstance(check(data), str)


@given(st.integers(min_value=0), st.binary(min_size=1, max_size=4))
def test_law_damage_to_a_header_is_a_fault_or_changes_nothing_that_counts(place: int, patch: bytes) -> None:
    at = place % len(GOOD_TENSORS)
    damaged = GOOD_TENSORS[:at] + patch + GOOD_TENSORS[at + len(patch) :]
    fault = weight_formats.safetensors_fault(damaged)
    if fault is None:
        assert set(safetensors.numpy.load(damaged))


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.integers(0, 4), max_size=4))
def test_law_what_safetensors_writes_is_allowed(shapes: dict[str, int]) -> None:
    shapes.pop("__metadata__", None)
    data = safetensors.numpy.save({name: np.zeros((size, 2), np.float32) for name, size in shapes.items()})
    assert weight_formats.safetensors_fault(data) is None
