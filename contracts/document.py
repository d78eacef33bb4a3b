"""The base of every document: frozen, validated, named by the digest of its canonical JSON.

Boundary: no I/O.
Invariants: unknown fields are refused; a document's bytes round-trip (`parse(d.canonical()) == d`).
"""

from __future__ import annotations

import json
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.digest import Digest, canonical_json, sha256_bytes
from contracts.errors import Corrupt


def later(default: Any) -> Any:
    """The field of a document that was added after its first release: left out of the JSON while it has its default.

    So a document that was written before keeps its bytes, and with them its name (S3).
    """
    return Field(default=default, exclude_if=lambda value: bool(value == default))


class Part(BaseModel):
    """A piece of a document: frozen, unknown fields refused, NaN and infinity refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Document(Part):
    """A document of its own, stored as the blob of its canonical JSON.

    `KIND` is written into the JSON as `kind`, so that one document can never be read as another.
    """

    KIND: ClassVar[str] = "document"

    def as_json(self) -> dict[str, Any]:
        """The JSON value of this document, `kind` included."""
        return {"kind": self.KIND, **self.model_dump(mode="json")}

    def canonical(self) -> bytes:
        """RFC 8785 bytes: what is stored and signed."""
        return canonical_json(self.as_json())

    def digest(self) -> Digest:
        """SHA-256 of `canonical()`: the document's name."""
        return sha256_bytes(self.canonical())

    @classmethod
    def parse(cls, data: bytes, *, where: str = "") -> Self:
        """Read stored bytes; raises Corrupt naming the first wrong field. Duplicate JSON keys are refused."""
        try:
            value = json.loads(data, object_pairs_hook=_no_duplicates)
        except ValueError as error:
            raise Corrupt(f"a {cls.KIND} is not JSON", where=where, got=str(error), expected="canonical JSON") from None
        if not isinstance(value, dict) or value.pop("kind", None) != cls.KIND:
            raise Corrupt("a document is of another kind", where=where, expected=f'"kind": "{cls.KIND}"')
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            path = ".".join(str(part) for part in first["loc"])
            raise Corrupt(
                f"a {cls.KIND} does not satisfy its contract", where=f"{where} in {path!r}".strip(), got=first["msg"]
            ) from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(keys) != len(set(keys)):
        raise ValueError("duplicate key")
    return dict(pairs)
