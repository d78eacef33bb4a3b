"""What MLflow shows of a family, as values: what it should show (from the ledger), what it does, where these differ.

Boundary: no I/O and no mlflow; registry/mlflow_mirror.py reads and writes these values.
Invariants: two families are equal exactly when `differences` is empty; a version's number is the place of its release
among the registered ones, so that a mirror that is written anew counts as the old one did.
Source: release-algorithm S4; faults 35 and 54.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from contracts.digest import Digest, canonical_json, short
from contracts.registry_entry import RegistryEntry

MODEL = "model"
"""Folder of a run's artifacts that holds the loadable model."""
LOADER = "serving.pyfunc"
OURS = "soundcheck."
"""Prefix of the tags that are not fields of the registry contract."""
BUNDLE_TAG = f"{OURS}bundle"
ALIASES = ("candidate", "canary", "stable", "previous")
"""The aliases that follow the ledger and the pointer; any other is somebody's own."""
SHOWN = 60
"""Characters of a value that a difference quotes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One model version and its run.

    Attributes:
        tags: on run and version alike; those that MLflow itself writes (`mlflow.*`) are left out.
        metrics: value by the name that MLflow has (`metric_name`).
        artifacts: digest by path below the run's artifacts.
        faults: what the version itself has wrong (its source, its run), in sentences' ends.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    artifacts: Mapping[str, Digest] = field(default_factory=dict)
    faults: tuple[str, ...] = ()

    @property
    def bundle(self) -> Digest | None:
        """The bundle that its tag names."""
        return self.tags.get(BUNDLE_TAG)


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyView:
    """A registered model: versions by number, aliases with the number they stand at.

    `under_way` are versions whose release has not ended: MLflow shows them when they have, so that only their presence
    is compared until then.
    """

    versions: Mapping[int, Version] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)
    under_way: frozenset[int] = frozenset()


def differences(family: str, ledger: FamilyView, mlflow: FamilyView) -> list[str]:
    """Where MLflow differs from the ledger, a sentence a field; empty when they are equal."""
    return [*_alias_differences(family, ledger, mlflow), *_version_differences(family, ledger, mlflow)]


def _alias_differences(family: str, ledger: FamilyView, mlflow: FamilyView) -> Iterator[str]:
    for alias in ALIASES:
        wanted, found = ledger.aliases.get(alias), mlflow.aliases.get(alias)
        if wanted != found:
            yield (
                f"the alias {alias!r} of {family} is {_named(mlflow, found)} in MLflow, "
                f"{_named(ledger, wanted)} by the ledger and the pointer"
            )


def _named(view: FamilyView, number: int | None) -> str:
    if number is None:
        return "nowhere"
    version = view.versions.get(number)
    return f"at version {number} ({name_of(version.bundle if version else None)})"


def name_of(bundle: Digest | None) -> str:
    """A bundle as people see it."""
    return f"bundle {short(bundle)}" if bundle else "no bundle"


def _version_differences(family: str, ledger: FamilyView, mlflow: FamilyView) -> Iterator[str]:
    for number in sorted(ledger.versions.keys() | mlflow.versions.keys()):
        wanted, found = ledger.versions.get(number), mlflow.versions.get(number)
        name = f"version {number} of {family}"
        if wanted is None:
            yield f"{name} is in MLflow, but the ledger has no such release"
        elif found is None:
            yield f"{name} is not in MLflow"
        else:
            yield from (f"{name} {fault}" for fault in found.faults)
            if number not in ledger.under_way:
                yield from (f"{name}: {one}" for one in _field_differences(wanted, found))


def _field_differences(wanted: Version, found: Version) -> Iterator[str]:
    yield from _mapping("tag", wanted.tags, found.tags)
    yield from _mapping("metric", wanted.metrics, found.metrics)
    for path in sorted(wanted.artifacts.keys() | found.artifacts.keys()):
        if path not in found.artifacts:
            yield f"the artifact {path} is not in MLflow"
        elif path not in wanted.artifacts:
            yield f"the artifact {path} is in MLflow alone"
        elif wanted.artifacts[path] != found.artifacts[path]:
            yield f"the artifact {path} has other content in MLflow"


def _mapping(kind: str, wanted: Mapping[str, object], found: Mapping[str, object]) -> Iterator[str]:
    for name in sorted(wanted.keys() | found.keys()):
        if not _same(wanted.get(name), found.get(name)):
            yield f"the {kind} {name!r} is {_quote(found, name)} in MLflow, {_quote(wanted, name)} by the ledger"


def _same(left: object, right: object) -> bool:
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left) and math.isnan(right):
        return True
    return left == right


def _quote(values: Mapping[str, object], name: str) -> str:
    if name not in values:
        return "not set"
    text = repr(values[name])
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def metric_name(name: str) -> str:
    """A name that MLflow takes: `wer/accent=us&noise=5db` becomes `wer/accent:us noise:5db`.

    Other characters become `_` and their code point in hexadecimal, so that names which differ there stay apart.
    """
    plain = name.replace("=", ":").replace("&", " ")
    return re.sub(r"[^A-Za-z0-9_\-./ :]", lambda match: f"_{ord(match[0]):02x}", plain)


def contract_tags(entry: RegistryEntry, family: str, release: str) -> dict[str, str]:
    """Every field of the contract as text, and the names that the ledger knows it by."""
    tags = {f"{OURS}release": release, f"{OURS}payload": entry.payload_digest, f"{OURS}family": family}
    for name, value in entry.model_dump(mode="json").items():
        tags[name] = value if isinstance(value, str) else canonical_json(value).decode()
    return tags


def milliseconds(at: str) -> int:
    """A ledger time (ISO 8601) as MLflow keeps times."""
    return round(datetime.fromisoformat(at).timestamp() * 1000)


def model_files(*, bundle: Digest, family: str, number: int, store_url: str, created_ms: int) -> dict[str, bytes]:
    """A loadable model: `MLmodel` names the loader module, `bundle.json` the bundle, its store and the version.

    `created_ms` is when the release was registered. Nothing in it depends on the run or on the machine, so that
    the files of a mirror that is rebuilt are the old ones.
    """
    model = {
        "artifact_path": MODEL,
        "flavors": {"python_function": {"loader_module": LOADER, "data": "bundle.json"}},
        "model_uuid": bundle[:32],
        "utc_time_created": datetime.fromtimestamp(created_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
    }
    named = {"bundle": bundle, "family": family, "store": store_url, "version": number}
    return {
        f"{MODEL}/MLmodel": json.dumps(model, indent=1).encode(),  # JSON is YAML
        f"{MODEL}/bundle.json": canonical_json(named),
    }
