"""What the gateway needs to know of a restored bundle: feature contract, redaction rules, price, language.

Boundary: reads the bundle's folder once; the payload's weights are the worker's business.
Invariants: a bundle without a valid feature contract is refused before a worker starts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.digest import Digest
from contracts.errors import WrongCall
from contracts.feature_contract import FeatureContract
from contracts.registry_entry import RegistryEntry
from registry.bundle import assemble
from serving.redaction import Filters

PRICE_USD_PER_CORE_HOUR = 0.04
"""Assumed where the bundle has no registry entry (a bare payload under test)."""

ENTRY = "registry_entry.json"


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


def name_of(folder: Path, family: str) -> Digest:
    """What a folder that was handed over is called.

    A restored bundle has the digest of its manifest, which its files and its registry entry determine; a bare payload
    without an entry has the digest of its files.
    """
    entry = folder / ENTRY
    version = RegistryEntry.parse(entry.read_bytes(), where=str(entry)).version if entry.is_file() else ""
    manifest = assemble(folder, family=family, version=version)
    return manifest.digest() if version else manifest.payload_digest


def describe(folder: Path, digest: Digest) -> Loaded:
    """Read a bundle's folder; raises WrongCall where it is none, Corrupt where a document is malformed."""
    contract = folder / "payload" / "feature_contract.json"
    if not contract.is_file():
        raise WrongCall(
            "this folder is not a bundle",
            where=str(folder),
            expected="a folder with payload/feature_contract.json",
            next_step="restore one: soundcheck restore BUNDLE --into DIR",
        )
    filters = folder / "safety_filters.json"
    price, cores, language = PRICE_USD_PER_CORE_HOUR, 1.0, "en"
    entry_file = folder / ENTRY
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
