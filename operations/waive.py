"""R4.2 Waive: an Inconclusive comparison accepted by name, signed, in the ledger.

Boundary: the store, the ledger, the key ring.
Invariants: a waiver is for one comparison of one payload under one policy; Fail, Error and Pass cannot be waived; it
holds while its signature is by an enrolled approver whose key is not revoked, and never by the builder's word alone;
one that does not hold is said and left out, it stops nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from contracts.approval import SignedWaiver
from contracts.digest import Digest
from contracts.errors import Refused, SoundcheckError, WrongCall
from contracts.ledger_event import LedgerEvent
from contracts.policy import FamilyPolicy
from contracts.reports import Baseline, Comparison, ScoreReport, TimingReport
from contracts.verdict import Value
from operations import keys
from operations.context import Context, log, put
from registry.approvals import counting_waivers, read_waiver
from registry.documents import get_document
from registry.keyring import Position
from registry.signing import WAIVER_TYPE, sign


class Subject(NamedTuple):
    """What is waived: one comparison of a score report."""

    pack: str
    slice: str
    metric: str
    baseline: Baseline = "stable"

    def __str__(self) -> str:
        """`wer on commands/accent=us`."""
        against = " against parent" if self.baseline == "parent" else ""
        return f"{self.metric} on {self.pack}/{self.slice}{against}"


class Known(NamedTuple):
    """A waiver of the ledger, and of which version; `fault` says why it does not hold, "" where it does."""

    waiver: SignedWaiver
    version: str
    fault: str


def subject_of(row: Comparison | SignedWaiver) -> Subject:
    """What a comparison asks, or a waiver answers."""
    return Subject(row.pack, row.slice, row.metric, row.baseline)


def waive(
    context: Context, family: str, subject: Subject, *, key_name: str, reason: str, release: str = ""
) -> SignedWaiver:
    """Sign that a comparison of the last stopped release (or of the one named by version or id) may go on.

    Refused unless that comparison is Inconclusive and the key's holder is an approver; WrongCall without a reason.
    """
    said = " ".join(reason.split())
    if not said:
        raise WrongCall("a waiver gives no reason", where=str(subject), next_step="say why with --reason TEXT")
    stopped = _stopped(context, family, release)
    _check_waivable(context, family, stopped, subject)
    signer = keys.load(context, key_name)
    keys.require_role(context, signer, "approver")
    payload = get_document(context.store, ScoreReport, stopped.inputs["score_report"]).payload_digest
    waiver = SignedWaiver(
        family=family, payload_digest=payload, policy=stopped.inputs["policy"], **subject._asdict(), reason=said,
        approver=signer.name, key_id=signer.key_id, at=context.timestamp(),
    )  # fmt: skip
    (digest,) = put(context, waiver)
    envelope = sign(waiver, {family: payload}, WAIVER_TYPE, signer)
    context.ledger(family).append(
        "waive", "complete", at=context.timestamp(), release=stopped.release,
        inputs={"payload": payload, "policy": waiver.policy, "score_report": stopped.inputs["score_report"]},
        outputs={"waiver": digest, "signature": context.store.put_blob(envelope)},
        data={**subject._asdict(), "approver": waiver.approver, "version": stopped.data["version"]},
    )  # fmt: skip
    return waiver


def holding(context: Context, family: str, *, payload: Digest, policy: Digest) -> dict[Digest, SignedWaiver]:
    """The waivers that hold now for a payload under a policy, by the digest of their document."""
    found: dict[Digest, SignedWaiver] = {}
    for known in known_waivers(context, family):
        waiver = known.waiver
        if (waiver.payload_digest, waiver.policy) != (payload, policy):
            continue
        if known.fault:
            log.warning("a waiver of %s by %s does not hold: %s", subject_of(waiver), waiver.approver, known.fault)
        else:
            found[waiver.digest()] = waiver
    return found


def known_waivers(context: Context, family: str) -> list[Known]:
    """Every waiver that was ever signed for a family, oldest first."""
    events = [event for event in context.ledger(family).events() if event.step == "waive"]
    known = [_read(context, event) for event in events]
    count = counting_waivers([one.waiver for one in known if not one.fault], builder=keys.BUILDER)
    alone = f"{keys.BUILDER} built this payload and cannot be the only one to waive"
    return [one if one.fault or one.waiver in count else one._replace(fault=alone) for one in known]


def _read(context: Context, event: LedgerEvent) -> Known:
    waiver, version = get_document(context.store, SignedWaiver, event.outputs["waiver"]), str(event.data["version"])
    try:
        signed = read_waiver(
            context.store.read_blob(event.outputs["signature"]),
            payload=waiver.payload_digest,
            policy=waiver.policy,
            keyring=keys.ring(context),
            at=Position(event.family, event.sequence),
        )
    except SoundcheckError as error:
        return Known(waiver, version, error.what)
    return Known(waiver, version, "" if signed == waiver else "its signature is of another waiver")


def stopping(context: Context, family: str, inputs: Mapping[str, Digest]) -> list[Comparison]:
    """The comparisons that stop a release whose gate step has these inputs, worst first; what is waived does not."""
    from evalpacks import gates

    score = get_document(context.store, ScoreReport, inputs["score_report"])
    timing = get_document(context.store, TimingReport, inputs["timing_report"])
    policy = get_document(context.store, FamilyPolicy, inputs["policy"])
    waivers = holding(context, family, payload=score.payload_digest, policy=policy.digest())
    return gates.stopping(score, timing, policy, waivers)


def commands(family: str, rows: list[Comparison]) -> list[str]:
    """The command that waives each Inconclusive comparison."""
    from pages.reading import waive_line

    return [waive_line(family, row) for row in rows if row.verdict.value == Value.INCONCLUSIVE]


def waiting(context: Context, family: str) -> list[str]:
    """The commands that would waive what stops the family's last release; [] where it did not stop at its gates."""
    gated = _gate_events(context, family)
    if not gated or gated[-1].data.get("verdict") == Value.PASS.value:
        return []
    return commands(family, stopping(context, family, gated[-1].inputs))


def _gate_events(context: Context, family: str) -> list[LedgerEvent]:
    """The last gate event of each release, oldest first."""
    last: dict[str, LedgerEvent] = {}
    for event in context.ledger(family).events():
        if event.step == "gate" and event.outcome == "complete":
            last.pop(event.release, None)
            last[event.release] = event
    return list(last.values())


def _stopped(context: Context, family: str, release: str) -> LedgerEvent:
    """The gate event of the release that is meant; Refused where it did not stop there."""
    gated = _gate_events(context, family)
    meant = [one for one in gated if not release or one.data.get("version") == release or one.release == release]
    if not meant:
        versions = ", ".join(dict.fromkeys(str(event.data.get("version")) for event in gated))
        raise WrongCall(
            "no release of this family stopped at its gates" if not release else "no such release came to its gates",
            where=family,
            got=release,
            expected=versions,
            next_step=f"soundcheck release {family}",
        )
    if meant[-1].data.get("verdict") == Value.PASS.value:
        raise Refused(
            "the release did not stop at its gates",
            where=f"{family} {meant[-1].data.get('version')}",
            expected="a release that stopped because a comparison is inconclusive",
            next_step=f"soundcheck status {family}",
        )
    return meant[-1]


def _check_waivable(context: Context, family: str, gated: LedgerEvent, subject: Subject) -> None:
    rows = stopping(context, family, gated.inputs)
    values = {row.verdict.value for row in rows if subject_of(row) == subject}
    if values == {Value.INCONCLUSIVE}:
        return
    inconclusive = [str(subject_of(row)) for row in rows if row.verdict.value == Value.INCONCLUSIVE]
    raise Refused(
        "only an inconclusive comparison can be waived",
        where=f"{family} {gated.data.get('version')}, {subject}",
        got=max(values, key=lambda value: value.severity).value if values else "no comparison that stops the release",
        expected="; ".join(inconclusive) or "no comparison of this release is inconclusive",
        next_step="train a better candidate" if not inconclusive else f"soundcheck waive {family} --list",
    )
