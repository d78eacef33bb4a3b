"""A ledger event: an OpenLineage RunEvent with one facet of ours, chained to the event before it.

Boundary: no I/O, no clock. Source: OpenLineage 2-0-2; release-algorithm R9.1.
Invariants: stored bytes are the canonical JSON of the RunEvent; `previous` is the SHA-256 of the bytes of the event
before it, so that a changed, dropped or reordered event breaks the chain.
"""

from __future__ import annotations

import json
import uuid
from typing import Any, Literal

from pydantic import JsonValue, NonNegativeInt, ValidationError

from contracts.digest import Digest, canonical_json, sha256_bytes
from contracts.document import Part
from contracts.errors import Corrupt

GENESIS = "0" * 64
"""`previous` of a family's first event."""
PRODUCER = "https://soundcheck.invalid/speech-soundcheck"
SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
FACET_SCHEMA = "https://soundcheck.invalid/facets/1-0-0/SoundcheckRunFacet.json"
NAMESPACE = uuid.UUID("6a1f6f9e-2f0d-5f0e-8f53-0d2f3b7c9a11")

Outcome = Literal["start", "complete", "fail"]
_EVENT_TYPE: dict[Outcome, str] = {"start": "START", "complete": "COMPLETE", "fail": "FAIL"}


class LedgerEvent(Part):
    """One fact about a family.

    Attributes:
        family, sequence: the event's key; sequences count from 0 without gaps.
        previous: digest of the event before it, GENESIS for the first.
        at: UTC time, ISO 8601 with `Z`; for people, never for order.
        step: capture, register, score, gate, package, stage, migrate, canary_stage, canary_slices, canary,
            request_approval, approve, promote, rollback, condemn, freeze, unfreeze, abort, drift, waive, collect,
            erase, consent.
        outcome: start (intent), complete or fail.
        release: the release this belongs to (digest of family, version, payload and policy), or "".
        inputs, outputs: role -> digest of the documents read and written.
        data: small public facts (version, actor, reason); never private content.
    """

    family: str
    sequence: NonNegativeInt
    previous: Digest
    at: str
    step: str
    outcome: Outcome
    release: str = ""
    inputs: dict[str, Digest] = {}
    outputs: dict[str, Digest] = {}
    data: dict[str, JsonValue] = {}

    def run_event(self) -> dict[str, Any]:
        """The OpenLineage RunEvent; lossless (`from_bytes(to_bytes())` gives the event back)."""
        facet = {
            "_producer": PRODUCER,
            "_schemaURL": FACET_SCHEMA,
            "family": self.family,
            "sequence": self.sequence,
            "previous": self.previous,
            "release": self.release,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "data": self.data,
        }
        run_id = uuid.uuid5(NAMESPACE, f"{self.family}/{self.release or self.sequence}/{self.step}")
        return {
            "eventTime": self.at,
            "eventType": _EVENT_TYPE[self.outcome],
            "run": {"runId": str(run_id), "facets": {"soundcheck": facet}},
            "job": {"namespace": f"soundcheck/{self.family}", "name": self.step},
            "inputs": [_dataset(role, digest) for role, digest in sorted(self.inputs.items())],
            "outputs": [_dataset(role, digest) for role, digest in sorted(self.outputs.items())],
            "producer": PRODUCER,
            "schemaURL": SCHEMA,
        }

    def to_bytes(self) -> bytes:
        """Canonical JSON of the RunEvent: what is stored and chained."""
        return canonical_json(self.run_event())

    def digest(self) -> Digest:
        """SHA-256 of `to_bytes()`: what the next event names as `previous`."""
        return sha256_bytes(self.to_bytes())

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str = "") -> LedgerEvent:
        """Read a stored event; raises Corrupt where bytes are not exactly the canonical form of an event."""
        try:
            value = json.loads(data)
            facet = dict(value["run"]["facets"]["soundcheck"])
            outcome = {name: key for key, name in _EVENT_TYPE.items()}[value["eventType"]]
            del facet["_producer"], facet["_schemaURL"]
            event = cls(at=value["eventTime"], step=value["job"]["name"], outcome=outcome, **facet)
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            raise Corrupt("a ledger event cannot be read", where=where, got=type(error).__name__) from None
        if event.to_bytes() != data:
            raise Corrupt("a ledger event is not in its canonical form", where=where)
        return event


def _dataset(role: str, digest: Digest) -> dict[str, str]:
    return {"namespace": "soundcheck", "name": f"{role}/{digest}"}
