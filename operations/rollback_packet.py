"""The rollback packet of a bundle: made when it is packaged, found again for whoever has to act.

Boundary: `make` is pure; `find` reads store and ledger.
Invariants: equal documents give equal packets (R5.5); a bundle of a version that wrote another packet gets one made
from the same documents, which its package event names.
Source: coverage 28; release-algorithm B0 to B5.
"""

from __future__ import annotations

from typing import NamedTuple

from contracts.bundle import BundleManifest
from contracts.digest import Digest
from contracts.errors import Corrupt, NotFound, Refused
from contracts.ledger_event import LedgerEvent
from contracts.policy import FamilyPolicy
from contracts.registry_entry import RegistryEntry
from contracts.reports import CanaryReport, Comparison, SafetyReport, ScoreReport
from contracts.rollback_packet import Action, Compatibility, RollbackPacket, Thresholds
from contracts.train_manifest import TrainManifest
from operations import pointer
from operations.context import Context
from pages.comparing import worst_first
from pages.rollback_packet import PacketView, Place
from registry.documents import get_document

PACKET = "rollback_packet.json"
RISKS = 5
"""Comparisons that a packet shows; the bundle's quality report has them all."""


class Texts(NamedTuple):
    """What is said where there is a bundle to go back to, and where there is none."""

    cache: str
    verified_when: str
    customer_message: str


BACK = Texts(
    "every gateway keeps the target's workers warm through the bake time, and its files in the verified local cache: "
    "nothing is loaded at the switch, and it works with the store away; streams end on the bundle they began with",
    "stable.bundle is {target}, canary is null",
    "We have returned to the previous version of the speech service. No action is needed; sessions that were open end "
    "on the version they began with.",
)
FORWARD = Texts(
    "there is no earlier bundle to keep warm; the corrected one is loaded and proved before anything moves",
    "stable.bundle is the corrected release's, canary is null",
    "We are correcting the speech service. Some answers may be worse than they should be until we write again; nothing "
    "needs to be changed on your side.",
)


class Documents(NamedTuple):
    """What a packet is made from."""

    train: TrainManifest
    entry: RegistryEntry
    policy: FamilyPolicy
    score: ScoreReport
    safety: SafetyReport


def make(documents: Documents) -> RollbackPacket:
    """The packet of a bundle that is about to be packaged."""
    train, entry, policy, score, safety = documents
    family, target = policy.family, _target(entry)
    texts = BACK if target else FORWARD
    return RollbackPacket(
        family=family,
        version=train.version,
        flag=f"pointer families/{family} in the store (the family's route table)",
        owner=entry.owner,
        on_call=entry.on_call,
        cohort=policy.canary.cohort,
        stages=policy.canary.stages,
        links=_links(family),
        thresholds=Thresholds(canary=policy.canary.metrics, serving=policy.serving),
        known_risks=_risks(score),
        safety=safety.verdict,
        target=target,
        rollback=_rollback(family, target),
        others=_others(family, target),
        compatibility=Compatibility(
            input_schema=entry.input_schema,
            output_schema=entry.output_schema,
            feature_contract=entry.feature_contract,
            embedding_dimension=_dimension(train),
        ),
        cache=texts.cache,
        verification=f"soundcheck status {family} --json",
        verified_when=texts.verified_when.format(target=target),
        customer_message=texts.customer_message,
        criteria=_criteria(policy),
    )


def find(context: Context, family: str, bundle: Digest) -> PacketView:
    """The packet of a packaged bundle, with what has become of the bundle since.

    Raises NotFound for a bundle that this family has not packaged, Corrupt for one that is damaged.
    """
    ledger = context.ledger(family)
    package = _package_event(ledger.events(), bundle)
    if package is None:
        raise NotFound(f"{family} has not packaged this bundle", got=bundle, next_step=f"soundcheck status {family}")
    manifest = get_document(context.store, BundleManifest, bundle)
    outputs = {
        name: digest
        for event in ledger.events()
        if event.release == package.release and event.outcome != "start"
        for name, digest in event.outputs.items()
    }
    canary, state = outputs.get("canary_report"), ledger.state()
    packet = packet_of(context, manifest, package)
    return PacketView(
        packet=packet,
        bundle=bundle,
        now=context.timestamp(),
        place=_place(context, family, bundle),
        target_version=state.packaged.get(packet.target) if packet.target else None,
        evidence=outputs.get("evidence"),
        canary=get_document(context.store, CanaryReport, canary) if canary else None,
    )


def stable_bundle(context: Context, family: str) -> Digest:
    """The bundle that serves a family; Refused where none does."""
    stable = pointer.current(context, family).stable
    if stable is None:
        raise Refused(
            "this family has no stable bundle, so there is no packet",
            where=family,
            next_step=f"name a bundle (`soundcheck status {family}`), or release one",
        )
    return stable


def _place(context: Context, family: str, bundle: Digest) -> Place:
    table = pointer.current(context, family).table
    if table and table.stable == bundle:
        return "stable"
    if table and table.canary and table.canary.bundle == bundle:
        return "canary"
    return "not routed"


def _package_event(events: tuple[LedgerEvent, ...], bundle: Digest) -> LedgerEvent | None:
    found = (event for event in events if event.step == "package" and event.outputs.get("bundle") == bundle)
    return next(found, None)


def packet_of(context: Context, manifest: BundleManifest, package: LedgerEvent) -> RollbackPacket:
    """The packet in a bundle; one in the form of an earlier version is made anew from what was packaged."""
    content = context.store.read_blob(manifest.files[PACKET].sha256)
    try:
        return RollbackPacket.parse(content, where=PACKET)
    except Corrupt:  # its bytes are those that were packaged: an earlier version wrote them, in another form
        store, inputs = context.store, package.inputs
        return make(
            Documents(
                train=get_document(store, TrainManifest, inputs["train_manifest"]),
                entry=get_document(store, RegistryEntry, inputs["registry_entry"]),
                policy=get_document(store, FamilyPolicy, inputs["policy"]),
                score=get_document(store, ScoreReport, inputs["score_report"]),
                safety=get_document(store, SafetyReport, inputs["safety_report"]),
            )
        )


def _target(entry: RegistryEntry) -> Digest | None:
    return None if entry.rollback_target.startswith("none:") else entry.rollback_target


def _risks(score: ScoreReport) -> tuple[Comparison, ...]:
    return tuple(worst_first(score.comparisons)[:RISKS])


def _rollback(family: str, target: Digest | None) -> Action:
    if target is None:
        return Action(
            purpose="there is no earlier bundle: release a corrected candidate",
            command=f"soundcheck release {family} --candidate DIR",
        )
    return Action(
        purpose="go back to the bundle that was stable before",
        command=f"soundcheck rollback {family} --key KEY --reason TEXT --to {target}",
    )


def _others(family: str, target: Digest | None) -> tuple[Action, ...]:
    actions = [
        Action(purpose="see where the family stands", command=f"soundcheck status {family}"),
        Action(purpose="stop a running canary; stable serves all", command=f"soundcheck abort {family} --key KEY"),
        Action(purpose="forbid promotions while you look", command=f"soundcheck freeze {family}"),
    ]
    if target:
        back = f"soundcheck rollback {family} --key KEY --reason TEXT"
        actions += [
            Action(purpose="move one slice of requests alone", command=f"{back} --slice device=phone"),
            Action(purpose="should that bundle be damaged: the newest good one", command=back),
            Action(purpose="prove the target before you need it", command=f"soundcheck verify {target}"),
        ]
    return tuple(actions)


def _links(family: str) -> dict[str, str]:
    return {
        "metrics": "/metrics of the gateway (ports.gateway in params.yaml)",
        "who serves what": "/v1/status of the gateway",
        "release report": f"reports/{family}-RELEASE.html in the home folder; soundcheck up prints MLflow's address",
        "quality report": "reports/quality.json in the bundle",
    }


def _dimension(train: TrainManifest) -> int | None:
    value = train.hyperparameters.get("embedding_dimension")
    return value if isinstance(value, int) else None


def _criteria(policy: FamilyPolicy) -> tuple[str, ...]:
    approvals = policy.approvals
    named = f", {', '.join(approvals.mandatory)} among them" if approvals.mandatory else ""
    return (
        "the cause is known, and a fixture or a slice of an eval pack shows it",
        "a new release passes every gate, with the slice that was hurt among the protected ones",
        f"its canary passes every stage: {', '.join(policy.canary.stages)}",
        f"approvals by signature or form: {approvals.quorum}{named}",
        f"soundcheck unfreeze {policy.family}, where promotions were forbidden",
    )
