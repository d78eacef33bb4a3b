"""The file formats a payload may hold, told apart by structure: each check reads a whole file and believes no name.

Boundary: bytes in, a fault (a sentence) or None out; no I/O, nothing is unpickled, unpacked or run.
Invariants: a check that returns None has accounted for every byte of the file, so that nothing can hide behind the part
that is read, and floats that weigh anything are finite; ORT and ONNX files are checked by their structure alone
(identifier, root table, version; messages and their lengths), not weight by weight.
Source: release-algorithm R1.4; safetensors format; ONNX protobuf (onnx.proto); flatbuffers; Sphinx sources (bio.c,
bin_mdef.c, ptm_mgau.c, ngrams trie).
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterator
from typing import Any

SAFETENSORS_HEADER_LIMIT = 16 << 20
"""Bytes of a safetensors header; larger ones are an attack on the parser's memory."""
JSON_LIMIT = 64 << 20
DTYPE_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip
NOT_FINITE = {
    "F8_E4M3": ("u1", 0x7F), "F8_E5M2": ("u1", 0x7C), "F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80),
    "F32": ("<u4", 0x7F80_0000), "F64": ("<u8", 0x7FF0_0000_0000_0000),
}  # fmt: skip
"""Float type -> its bits as whole numbers, and those that are all set in NaN and infinity (E4M3 has NaN alone)."""
SPHINX_MAGIC = 0x11223344


def safetensors_fault(data: bytes) -> str | None:
    """Header bound, unique names, known types, sizes that fit shapes, no overlap, full coverage, finite floats."""
    try:
        header, body = _safetensors_header(data)
        spans = sorted(_tensor_span(name, entry) for name, entry in header.items())
    except ValueError as error:
        return str(error)
    return _layout_fault(spans, body)


def _safetensors_header(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Tensor entries by name and the bytes after the header; ValueError naming what is wrong."""
    if len(data) < 10:
        raise ValueError("shorter than a safetensors header")
    (size,) = struct.unpack_from("<Q", data)
    if size > min(SAFETENSORS_HEADER_LIMIT, len(data) - 8):
        raise ValueError(
            f"declares a header of {size} bytes in a file of {len(data)} (at most {SAFETENSORS_HEADER_LIMIT})"
        )
    try:
        header = json.loads(data[8 : 8 + size], object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its safetensors header is not JSON: {_brief(error)}") from None
    if not isinstance(header, dict):
        raise ValueError("its safetensors header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its safetensors metadata is not text to text")
    return header, data[8 + size :]


def _tensor_span(name: str, entry: Any) -> tuple[int, int, str, str]:
    """(begin, end, name, type) of a tensor; ValueError naming what is wrong."""
    wrong = ValueError(f"tensor {name!r} has a malformed entry")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise wrong
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in DTYPE_BYTES:
        raise ValueError(f"tensor {name!r} has the unknown type {dtype!r}")
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        raise wrong
    if not all(type(number) is int and number >= 0 for number in (*shape, *offsets)):
        raise wrong
    if offsets[1] - offsets[0] != math.prod(shape) * DTYPE_BYTES[dtype]:
        raise ValueError(f"tensor {name!r} has offsets {offsets} that do not fit its shape {shape}")
    return offsets[0], offsets[1], name, dtype


def _layout_fault(spans: list[tuple[int, int, str, str]], body: bytes) -> str | None:
    import numpy as np

    end = 0
    for begin, stop, name, dtype in spans:
        if begin < end:
            return f"tensor {name!r} overlaps the one before it"
        if begin > end:
            return f"{begin - end} bytes before tensor {name!r} belong to no tensor"
        if stop > len(body):
            return f"tensor {name!r} ends at byte {stop} of {len(body)}"
        if dtype in NOT_FINITE:
            unsigned, mask = NOT_FINITE[dtype]
            if (np.frombuffer(body[begin:stop], unsigned) & mask == mask).any():
                return f"tensor {name!r} holds NaN or infinity"
        end = stop
    return None if end == len(body) else f"{len(body) - end} bytes after the last tensor belong to no tensor"


def json_fault(data: bytes) -> str | None:
    """UTF-8 JSON, an object or a list, no duplicate keys, no NaN."""
    if len(data) > JSON_LIMIT:
        return f"JSON of {len(data)} bytes (at most {JSON_LIMIT})"
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=unique_keys, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {_brief(error)}"
    return None if isinstance(value, dict | list) else "JSON, but neither an object nor a list"


def text_fault(data: bytes) -> str | None:
    """UTF-8 without control characters other than tab and line ends."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"not UTF-8 text: byte {error.start} is {data[error.start]:#04x}"
    for line in text.splitlines():
        if not line.isprintable() and any(ord(character) < 32 and character != "\t" for character in line):
            return "text with control characters"
    return None


def ort_fault(data: bytes) -> str | None:
    """A flatbuffer with the identifier ORTM, a root table and a vtable inside the file, and a version string."""
    if data[4:8] != b"ORTM":
        return "not an ORT file: without the identifier ORTM at byte 4"
    try:
        (root,) = struct.unpack_from("<I", data)
        (back,) = struct.unpack_from("<i", data, root)
        vtable = root - back
        vtable_bytes, table_bytes = struct.unpack_from("<HH", data, vtable)
        if vtable < 8 or vtable_bytes < 8 or vtable_bytes % 2 or root + table_bytes > len(data):
            return "an ORT file with a malformed root table"
        (version,) = struct.unpack_from("<H", data, vtable + 4)
        (model,) = struct.unpack_from("<H", data, vtable + 6)
        if not version or not model:
            return "an ORT file without version or model"
        at = root + version + struct.unpack_from("<I", data, root + version)[0]
        length = struct.unpack_from("<I", data, at)[0]
        if not data[at + 4 : at + 4 + length].isdigit():
            return "an ORT file whose version is not a number"
    except struct.error:
        return "an ORT file that ends too early"
    return None


# ---- ONNX: a walk over the protobuf, far enough to find tensors that live outside of the file -----------------------
# message -> {field: sub-message}; numbers are those of onnx.proto
_ONNX: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_DEPTH_LIMIT = 32


def onnx_fault(data: bytes) -> str | None:
    """A protobuf with an IR version, operator sets and a graph, whose tensors all lie in the file itself (fault 48)."""
    try:
        fields = {number for number, _ in _protobuf(data)}
        if not {1, 7, 8} <= fields or fields - ({*range(1, 9), 14, 20, 25, 26}):
            return "not an ONNX model"
        return _onnx_message_fault(data, "model", 0)
    except ValueError as error:
        return f"not an ONNX model: {error}"


def _onnx_message_fault(data: bytes, message: str, depth: int) -> str | None:
    if depth > _DEPTH_LIMIT:
        return f"an ONNX model nested deeper than {_DEPTH_LIMIT}"
    for number, value in _protobuf(data):
        if message == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value == 1)):
            return "an ONNX model with a tensor outside of the file (external data)"
        inner = _ONNX.get(message, {}).get(number)
        if inner and isinstance(value, bytes) and (fault := _onnx_message_fault(value, inner, depth + 1)):
            return fault
    return None


def _protobuf(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of each field; ValueError where it is no protobuf."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire not in (1, 2, 5):
            raise ValueError(f"wire type {wire}")
        size, at = (8, at) if wire == 1 else (4, at) if wire == 5 else _varint(data, at)
        if not number or at + size > len(data):
            raise ValueError("a field ends outside of the file")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("a number ends outside of the file")
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    raise ValueError("a number of over 64 bits")


# ---- Sphinx ----------------------------------------------------------------------------------------------------------


def sphinx_parameters_fault(data: bytes) -> str | None:
    """means, variances, transition_matrices, mixture_weights: `s3` header, counts, finite floats, checksum."""
    import numpy as np

    end = data.find(b"endhdr\n", 0, 4096)
    if not data.startswith(b"s3\n") or end < 0:
        return "not a Sphinx parameter file"
    body = data[end + len(b"endhdr\n") :]
    if len(body) < 24 or len(body) % 4 or struct.unpack_from("<I", body)[0] != SPHINX_MAGIC:
        return "a Sphinx parameter file without its byte-order mark"
    words = np.frombuffer(body, "<i4")[1:]
    trailer = 1 if b"chksum0 yes" in data[:end] else 0
    # Gaussians: sets, features, densities, one length a feature, total. Others: three counts and a total.
    for counts in ({3 + int(words[1])} if 0 < words[1] < 256 else set()) | {3}:
        total = int(words[counts]) if counts < len(words) else -1
        if total == len(words) - counts - 1 - trailer:
            floats = words[counts + 1 : counts + 1 + total].view("<f4")
            return None if np.isfinite(floats).all() else "a Sphinx parameter file that holds NaN or infinity"
    return "a Sphinx parameter file whose counts do not fit its size"


def sphinx_sendump_fault(data: bytes) -> str | None:
    """sendump: length-prefixed header strings, rows, columns, then one byte a feature, row and column."""
    at, features, title = 0, 1, b""
    try:
        while (length := struct.unpack_from("<i", data, at)[0]) != 0:
            line = data[at + 4 : at + 4 + length]
            if not 0 < length < 1000:
                return "not a Sphinx sendump"
            title = title or line
            if line.startswith(b"feature_count "):
                features = int(line[14:].rstrip(b"\0"))
            at += 4 + length
        rows, columns = struct.unpack_from("<ii", data, at + 4)
    except (struct.error, ValueError):
        return "not a Sphinx sendump"
    if title != b"BEGIN FILE FORMAT DESCRIPTION\0" or len(data) != at + 12 + features * rows * columns:
        return "a Sphinx sendump whose counts do not fit its size"
    return None


def sphinx_mdef_fault(data: bytes) -> str | None:
    """Binary model definition: names of phones, tree, phones and senone sequences fill the file."""
    try:
        version, described = struct.unpack_from("<4xii", data)
        at = 12 + described
        counts = struct.unpack_from("<10i", data, at)
    except struct.error:
        return "not a Sphinx model definition"
    if data[:4] != b"BMDF" or version != 1 or described < 0 or min(counts) < 0:
        return "not a Sphinx model definition"
    base_phones, phones, states, _, _, _, sequences, _, nodes, _ = counts
    start = at = at + 40
    for _ in range(base_phones):
        at = data.find(b"\0", at) + 1
        if at == 0:
            return "a Sphinx model definition that ends within its phones"
    at = start + -(-(at - start) // 4) * 4 + 8 * nodes + 12 * phones
    if not states or len(data) != at + 4 + 2 * sequences * states:
        return "a Sphinx model definition whose counts do not fit its size"
    return None


def sphinx_language_model_fault(data: bytes) -> str | None:
    """Binary n-gram trie: order, counts, and as many words at the end as there are unigrams."""
    magic = b"Trie Language Model"
    if not data.startswith(magic) or len(data) < 64:
        return "not a Sphinx language model"
    order = data[len(magic)]
    if not 1 <= order <= 5:
        return f"a Sphinx language model of order {order}"
    counts = struct.unpack_from(f"<{order}I", data, len(magic) + 1)
    # The file ends with the length of the vocabulary and its words, each closed by NUL. The length is below 2**24, so
    # its highest byte is the NUL before the first word.
    at = len(data)
    for _ in range(counts[0] + 1):
        at = data.rfind(b"\0", 0, at)
        if at < 64:
            return "a Sphinx language model with fewer words than it declares"
    if struct.unpack_from("<I", data, at - 3)[0] != len(data) - at - 1:
        return "a Sphinx language model whose vocabulary does not fit its size"
    return text_fault(data[at + 1 :].replace(b"\0", b"\n"))


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object hook that refuses duplicate keys."""
    keys = [key for key, _ in pairs]
    if len(keys) != len(set(keys)):
        raise ValueError("duplicate key")
    return dict(pairs)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _brief(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:120]


FORMATS: dict[str, Callable[[bytes], str | None]] = {
    "safetensors": safetensors_fault,
    "ONNX": onnx_fault,
    "ORT": ort_fault,
    "JSON": json_fault,
    "Sphinx parameters": sphinx_parameters_fault,
    "Sphinx sendump": sphinx_sendump_fault,
    "Sphinx model definition": sphinx_mdef_fault,
    "Sphinx language model": sphinx_language_model_fault,
    "UTF-8 text": text_fault,
}
"""Each format's check; text is last because other formats are text too."""
