"""R3 Score: candidate and stable over every required pack, counts and timings.

Boundary: plans and gathers model runs (operations/shards.py; the caller says where they run), times them
(operations/timing.py), writes three reports and one ledger event.
Invariants: what is scored is the payload that will be packaged (R3.2); both hear the same audio in the same run;
nothing that depends on time stands in the score report, which is packaged (R5.5); a shard that was heard before a kill
is not heard again, and what was heard is removed once the reports are in the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pydantic import JsonValue

from contracts.bundle import BundleManifest
from contracts.digest import Digest
from contracts.errors import Refused
from contracts.policy import FamilyPolicy
from contracts.train_manifest import TrainManifest
from operations import compute, shards
from operations.candidate import Candidate
from operations.context import Context, once, put
from operations.migration.planning import plan_of, without_comparing_spaces
from operations.packs import required_packs
from operations.payload import materialise, payload_folder
from operations.safety import safety_report
from operations.shards import RunShards, Wanted
from operations.timing import timing_report
from registry.documents import get_document

if TYPE_CHECKING:
    from evalpacks.metrics import Outputs
    from evalpacks.pack import Pack


class Arms(NamedTuple):
    """Payloads that hear the packs: the candidate; the stable one; the model that the candidate was quantized from."""

    candidate: Digest
    stable: Digest | None
    parent: Digest | None


def score(context: Context, family: str, captured: dict[str, Digest], run_shards: RunShards) -> dict[str, Digest]:
    """Outputs: `score_report`, `timing_report`, `safety_report`."""
    packs = required_packs(context, family)
    stable = context.ledger(family).state().current
    parent = _parent(context, family, captured["candidate"])
    inputs = {"train_manifest": captured["train_manifest"], "policy": captured["policy"]}
    inputs |= {f"pack.{pack.name}": pack.digest for pack in packs}
    inputs |= {name: bundle for name, bundle in (("stable", stable), ("parent", parent)) if bundle}
    inputs |= {name: captured[name] for name in ("migration_plan",) if name in captured}
    release = captured["release"]

    def body() -> tuple[dict[str, Digest], dict[str, JsonValue]]:
        from evalpacks.scoring import score_report

        policy = get_document(context.store, FamilyPolicy, captured["policy"])
        manifest = get_document(context.store, TrainManifest, captured["train_manifest"])
        candidate = materialise(context, manifest)
        arms = Arms(manifest.payload_digest, _ready(context, stable), _ready(context, parent))
        payloads = [payload for payload in dict.fromkeys(arms) if payload]
        streams = streams_wanted(context, arms, packs, policy)
        heard = hear_packs(context, release, payloads, packs, run_shards, streams)
        report = score_report(
            family=family,
            version=manifest.version,
            payload_digest=arms.candidate,
            stable_payload=arms.stable,
            parent_payload=arms.parent,
            packs=packs,
            candidate=heard[arms.candidate],
            stable=heard[arms.stable] if arms.stable else None,
            parent=heard[arms.parent] if arms.parent else None,
            policy=policy,
        )
        report = without_comparing_spaces(report, plan_of(context, captured))
        folders = {"candidate": candidate}
        if arms.stable:
            folders["stable"] = payload_folder(context.home, arms.stable)
        timing = timing_report(
            context, policy, packs[0], payload_digest=arms.candidate, stable_payload=arms.stable, folders=folders
        )
        safety = safety_report(context, manifest, candidate, policy)
        digests = put(context, report, timing, safety)
        return dict(zip(("score_report", "timing_report", "safety_report"), digests, strict=True)), {
            "version": manifest.version
        }

    outputs = once(context, family=family, release=release, step="score", inputs=inputs, body=body)
    shards.remove(context.settings, release)
    return outputs


def _parent(context: Context, family: str, candidate: Digest) -> Digest | None:
    """The newest sound bundle of the version that the candidate was quantized from, None where it was not."""
    named = get_document(context.store, Candidate, candidate).provenance.get("quantized_from")
    if named is None:
        return None
    state = context.ledger(family).state()
    sound = {bundle: version for bundle, version in state.packaged.items() if bundle not in state.condemned}
    found = [bundle for bundle, version in sound.items() if version == named]
    if not found:
        raise Refused(
            "the model that the candidate was quantized from was never packaged",
            where=f"{family}, provenance.quantized_from in candidate.yaml",
            got=str(named),
            expected=" or ".join(dict.fromkeys(sound.values())) or "a version of the family that was packaged",
            next_step=f"soundcheck release {family} --candidate {named}, then this candidate again",
        )
    return found[-1]


def _ready(context: Context, bundle: Digest | None) -> Digest | None:
    """The payload of a bundle, its files where workers find them."""
    if bundle is None:
        return None
    manifest = get_document(context.store, BundleManifest, bundle)
    materialise(context, manifest)
    return manifest.payload_digest


def hear_packs(
    context: Context,
    run: str,
    payloads: Sequence[Digest],
    packs: Sequence[Pack],
    run_shards: RunShards,
    streams: Sequence[Wanted] = (),
) -> dict[Digest, Mapping[str, Outputs]]:
    """What each payload gives for each whole pack, and for `streams`; by the payload's digest and the pack's name."""
    from evalpacks.metrics import Outputs

    settings = context.settings
    whole = [
        Wanted(payload, pack.name, pack.digest, "batch", range(len(pack.utterances)))
        for pack in packs
        for payload in payloads
    ]
    planned = shards.plan([*whole, *streams], size=settings.compute.shard, lock=shards.runtime_lock(settings))
    heard = shards.collect(
        settings, run, planned, run_shards, on_progress=lambda done, total: context.progress("score", done, total)
    )
    tables = shards.tables(heard)
    return {
        payload: {
            pack.name: Outputs(tables[payload, pack.name, "batch"], tables.get((payload, pack.name, "stream")))
            for pack in packs
        }
        for payload in payloads
    }


def streams_wanted(context: Context, arms: Arms, packs: Sequence[Pack], policy: FamilyPolicy) -> list[Wanted]:
    """Samples of the packs that a gate with a streaming metric asks about, for candidate and stable where they stream.

    The full-precision parent is compared by its final texts alone.
    """
    from evalpacks.metrics import METRICS

    asked = {gate.pack for gate in policy.quality if METRICS[gate.metric].needs_stream}
    streamed = [pack for pack in packs if pack.name in asked]
    if not streamed:
        return []
    statistics = policy.statistics
    payloads = [payload for payload in dict.fromkeys((arms.candidate, arms.stable)) if payload]
    streaming = [p for p in payloads if compute.shared(compute.streams, payload_folder(context.home, p))]
    samples = {p.name: shards.stream_sample(p, statistics.stream_utterances, statistics.seed) for p in streamed}
    return [
        Wanted(payload, pack.name, pack.digest, "stream", samples[pack.name], statistics.chunk_ms)
        for pack in streamed
        for payload in streaming
    ]
