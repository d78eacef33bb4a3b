"""What the gateway needs to know of a restored bundle: feature contract, redaction rules, price, language.

Boundary: reads the bundle's folder once; the payload's weights are the worker's business.
Invariants: a bundle without a valid feature contract is refused before a worker starts.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.digest import Digest, digest_of, sha256_file
from contracts.errors import WrongCall
from contracts.feature_contract import FeatureContract
from contracts.registry_entry import RegistryEntry
from serving.redaction import Filters

PRICE_USD_PER_CORE_HOUR = 0.04
"""Assumed where the bundle has no registry entry (a bare payload under test)."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Loaded:
    """A bundle on disk.

    Attributes:
        cost_usd_per_s: US dollars a second of inference.
        language: what `verbose_json` says where the request names none.
    """

    digest: Digest
    folder: Path
    contract: FeatureContract
    filters: Filters
    cost_usd_per_s: float
    language: str


def payload_digest(folder: Path) -> Digest:
    """The digest of the payload on disk: the name of a bundle that was given as a bare folder."""
    payload = folder / "payload"
    files = sorted(path for path in payload.rglob("*") if path.is_file())
    return digest_of({path.relative_to(payload).as_posix(): sha256_file(path) for path in files})


def describe(folder: Path, digest: Digest | None = None) -> Loaded:
    """Read a bundle's folder; raises WrongCall where it is none, Corrupt where a document is malformed.

    Without `digest` the folder's own name counts where it is a digest (the verified cache), else the payload's digest.
    """
    contract = folder / "payload" / "feature_contract.json"
    if not contract.is_file():
        raise WrongCall(
            "this folder is not a bundle",
            where=str(folder),
            expected="a folder with payload/feature_contract.json",
            next_step="restore one: soundcheck restore BUNDLE --into DIR",
        )
    name = folder.resolve().name
    digest = digest or (name if _DIGEST.fullmatch(name) else payload_digest(folder))
    filters = folder / "safety_filters.json"
    price, cores, language = PRICE_USD_PER_CORE_HOUR, 1.0, "en"
    entry_file = folder / "registry_entry.json"
    if entry_file.is_file():
        entry = RegistryEntry.parse(entry_file.read_bytes(), where=str(entry_file))
        price, cores = entry.resource_envelope.price_usd_per_core_hour, entry.resource_envelope.cpu_cores
        language = entry.languages[0] if entry.languages else language
    rules: dict[str, Any] = json.loads(filters.read_bytes()) if filters.is_file() else {}
    return Loaded(
        digest=digest,
        folder=folder,
        contract=FeatureContract.parse(contract.read_bytes(), where=str(contract)),
        filters=rules,
        cost_usd_per_s=price * cores / 3600,
        language=language,
    )
