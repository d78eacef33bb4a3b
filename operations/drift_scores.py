"""The stable bundle over its packs again, whatever its task: did the environment change?

Boundary: runs the stable payload here; evalpacks/rescoring.py compares and judges.
Invariants: what was heard on another day says nothing of today and is not used; a pack is heard chunk by chunk where
the release measured a streaming metric on it; what is compared are counts of the metrics that the release was gated by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from contracts.bundle import BundleManifest
from contracts.digest import Digest
from contracts.policy import FamilyPolicy
from contracts.reports import DriftReport, ScoreReport
from operations import shards
from operations.context import Context
from operations.payload import materialise
from operations.score import Arms, hear_packs, streams_wanted

if TYPE_CHECKING:
    from evalpacks.metrics import Outputs
    from evalpacks.pack import Pack
    from evalpacks.rescoring import Rescored


class Stable(NamedTuple):
    """The stable bundle that is looked at: its manifest, the report it was released on, the family's packs."""

    bundle: Digest
    manifest: BundleManifest
    released: ScoreReport
    packs: list[Pack]


def rescore(context: Context, family: str, stable: Stable) -> Rescored:
    """Run the stable payload over its packs and compare every figure with that of its release."""
    from evalpacks.rescoring import score_again

    policy = context.settings.policy(family)
    return score_again(stable.released, stable.packs, _heard(context, stable, policy), policy)


def report(family: str, stable: Stable, rescored: Rescored) -> DriftReport:
    """The document of it, counts by `PACK/METRIC/SLICE`."""
    compared = {f"{one.pack}/{one.metric}/{one.slice}": one for one in rescored.scores}
    return DriftReport(
        family=family, bundle=stable.bundle,
        released={name: one.released for name, one in compared.items()},
        measured={name: one.measured for name, one in compared.items() if one.measured is not None},
        verdict=rescored.verdict,
    )  # fmt: skip


def _heard(context: Context, stable: Stable, policy: FamilyPolicy) -> dict[str, Outputs]:
    """What the payload gives for each pack, by the pack's name."""
    materialise(context, stable.manifest)
    payload = stable.manifest.payload_digest
    run = f"drift-{stable.bundle}"
    streams = streams_wanted(context, Arms(payload, None, None), _streamed(stable), policy)
    shards.remove(context.settings, run)
    heard = hear_packs(context, run, [payload], stable.packs, shards.here(context.settings), streams)
    shards.remove(context.settings, run)
    return dict(heard[payload])


def _streamed(stable: Stable) -> list[Pack]:
    """Packs on which the release measured a metric that needs a stream."""
    from evalpacks.metrics import METRICS

    asked = {
        one.pack
        for one in stable.released.comparisons
        if METRICS[one.metric].needs_stream and one.candidate.rate is not None
    }
    return [pack for pack in stable.packs if pack.name in asked]
