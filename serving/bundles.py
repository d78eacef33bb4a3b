"""What the gateway needs to know of a restored bundle: feature contract, redaction rules, price, language.

Boundary: reads the bundle's folder once; the payload's weights are the worker's business (serving/payload.py).
Invariants: a bundle without a valid feature contract is refused before a worker starts; the bytes that are parsed have
the digest that the bundle's manifest gives them, whatever was verified before (fault 28).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.bundle import BundleManifest
from contracts.digest import Digest, sha256_bytes, short
from contracts.errors import Corrupt, WrongCall
from contracts.feature_contract import FeatureContract
from contracts.registry_entry import RegistryEntry
from registry.bundle import assemble
from serving.redaction import Filters

PRICE_USD_PER_CORE_HOUR = 0.04
"""Assumed where the bundle has no registry entry (a bare payload under test)."""

DEFAULT_LANGUAGE = "en"

ENTRY, FILTERS = "registry_entry.json", "safety_filters.json"
CONTRACT = "payload/feature_contract.json"


@dataclass(frozen=True)
class Loaded:
    """A bundle on disk.

    Attributes:
        payload: path below the payload -> SHA-256 of what the worker may load.
        cost_usd_per_s: US dollars a second of inference.
        language: what `verbose_json` says where the request names none.
        languages: those that the bundle was released for; empty where nobody said (a bare payload under test).
    """

    digest: Digest
    folder: Path
    payload: Mapping[str, Digest]
    contract: FeatureContract
    filters: Filters
    cost_usd_per_s: float
    language: str
    languages: tuple[str, ...] = ()


def given(folder: Path, family: str) -> Loaded:
    """A folder that was handed over, as it is now.

    A restored bundle has the digest of its manifest, which its files and its registry entry determine; a bare payload
    without an entry has the digest of its files. Raises what `describe` raises.
    """
    entry = folder / ENTRY
    version = RegistryEntry.parse(entry.read_bytes(), where=str(entry)).version if entry.is_file() else ""
    manifest = assemble(folder, family=family, version=version)
    return describe(folder, manifest.digest() if version else manifest.payload_digest, manifest)


def describe(folder: Path, digest: Digest, manifest: BundleManifest) -> Loaded:
    """Read a bundle's folder.

    Raises WrongCall where it is none, Corrupt where a document is malformed or not the one that the manifest names.
    """
    if CONTRACT not in manifest.files:
        raise WrongCall(
            "this folder is not a bundle",
            where=str(folder),
            expected=f"a folder with {CONTRACT}",
            next_step="restore one: soundcheck restore BUNDLE --into DIR",
        )
    price, cores, languages = PRICE_USD_PER_CORE_HOUR, 1.0, tuple[str, ...]()
    if ENTRY in manifest.files:
        entry = RegistryEntry.parse(_read(folder, ENTRY, manifest), where=str(folder / ENTRY))
        price, cores = entry.resource_envelope.price_usd_per_core_hour, entry.resource_envelope.cpu_cores
        languages = entry.languages
    rules: dict[str, Any] = json.loads(_read(folder, FILTERS, manifest)) if FILTERS in manifest.files else {}
    return Loaded(
        digest=digest,
        folder=folder,
        payload={path: entry.sha256 for path, entry in manifest.payload().items()},
        contract=FeatureContract.parse(_read(folder, CONTRACT, manifest), where=str(folder / CONTRACT)),
        filters=rules,
        cost_usd_per_s=price * cores / 3600,
        language=languages[0] if languages else DEFAULT_LANGUAGE,
        languages=languages,
    )


def _read(folder: Path, path: str, manifest: BundleManifest) -> bytes:
    """A document's bytes; Corrupt where they are not those of the manifest."""
    content = (folder / path).read_bytes()
    found, expected = sha256_bytes(content), manifest.files[path].sha256
    if found != expected:
        raise Corrupt(
            "a file of the bundle is not what its manifest says",
            where=str(folder / path),
            got=f"sha256 {short(found)}",
            expected=f"sha256 {short(expected)}",
            next_step="restore the bundle anew; nothing else may write into its folder",
        )
    return content
