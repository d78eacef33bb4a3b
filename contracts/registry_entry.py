"""The registry contract: what a release is allowed to do, and who answers for it.

Boundary: no I/O. Source: release-algorithm R2, R2.1.
Invariants: every field is required; all missing fields are reported at once; `none: ...` is a value, an empty string
is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import JsonValue, NonNegativeFloat, PositiveFloat, PositiveInt, ValidationError

from contracts.digest import Digest
from contracts.document import Document, Part
from contracts.errors import Refused


class ResourceEnvelope(Part):
    """What one worker may use, and the load it must carry; `capacity_sign_off` names who agreed.

    `machine` is the row of the price table (params.yaml, `prices`) that the prices were taken from, None where they
    were given directly; the prices stand here, so that the policy's digest covers them.
    """

    concurrency: PositiveInt
    peak_memory_mb: PositiveFloat
    cpu_cores: PositiveFloat
    price_usd_per_core_hour: PositiveFloat
    price_usd_per_gb_hour: NonNegativeFloat = 0.0
    machine: str | None = None
    capacity_sign_off: str


class RegistryEntry(Document):
    """One row of the registry: the required fields of R2. Reports that later steps write are required at R5."""

    KIND: ClassVar[str] = "registry_entry"

    model_id: str
    version: str
    owner: str
    task: str
    base_model: str
    data_manifest: str
    training_code_sha: str
    serving_code_sha: str
    feature_contract: Digest
    input_schema: str
    output_schema: str
    serving_image: Digest
    resource_envelope: ResourceEnvelope
    rollback_target: str
    review_date: str
    on_call: str
    retention_policy: str
    licence: str
    languages: tuple[str, ...]
    train_manifest: Digest
    payload_digest: Digest
    high_risk: bool = False


def missing_fields(fields: Mapping[str, Any]) -> list[str]:
    """Required fields that are absent or empty, sorted."""
    required = [name for name, info in RegistryEntry.model_fields.items() if info.is_required()]
    return sorted(name for name in required if fields.get(name) in (None, "", (), [], {}))


def validate_entry(fields: Mapping[str, JsonValue], *, where: str) -> RegistryEntry:
    """The entry, or Refused naming every missing field, or the first that is malformed (R2.1)."""
    missing = missing_fields(fields)
    if missing:
        raise Refused(
            f"the registry entry lacks {len(missing)} required field{'s' if len(missing) > 1 else ''}",
            where=where,
            got="missing: " + ", ".join(missing),
            expected="every field of the registry contract (contracts/registry_entry.py)",
            next_step="add them to candidate.yaml or to the family in params.yaml, then run the release again",
        )
    try:
        return RegistryEntry.model_validate(dict(fields))
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        raise Refused(
            f"the registry field {path!r} is malformed", where=where, got=first["msg"], next_step=f"correct {path!r}"
        ) from None
