"""Whose change is it: that of who asks (population), of our own machinery (pipeline), or of the stable bundle alone?

Boundary: pure; checks that the caller made in, one word out. Source: coverage 4, 36, 37; release-algorithm R6.2.
Invariants: a check that fails makes it the pipeline's change, whatever traffic does; a check that could not be made
(None) convicts nobody; where all that could be checked is as promised, traffic that moved is the population's change,
and what stable makes of traffic that did not move is the bundle's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contracts.drift import Cause, Moved, PipelineCheck
from contracts.feature_contract import FeatureContract
from contracts.verdict import Value, Verdict
from monitoring.drift.signals import OUTPUTS

TRACE = 0.005
"""Share of requests at a rate that no model of ours takes, up to which nobody is called."""


def cause(checks: Sequence[PipelineCheck], moved: Sequence[Moved]) -> Cause:
    """Whose change it is; `none` where nothing moved and everything is as promised."""
    if any(check.same is False for check in checks):
        return "pipeline"
    if not moved:
        return "none"
    return "bundle" if all(one.signal in OUTPUTS for one in moved) else "population"


def front_end_check(difference: str | None) -> PipelineCheck:
    """The front end of this machine against the feature contract; `difference` in words, None where they agree."""
    says = difference or "checksum and probe are those of the feature contract"
    return PipelineCheck(name="front end", same=difference is None, says=says)


def scores_check(rescored: Verdict) -> PipelineCheck:
    """Stable scored again on its packs; a pack that is another one says nothing."""
    same = {Value.PASS: True, Value.FAIL: False}.get(rescored.value)
    return PipelineCheck(name="scores on packs", same=same, says="; ".join(rescored.reasons))


def rates_fit(requests: Mapping[int, float], refused: float, now: FeatureContract, before: FeatureContract) -> bool:
    """Whether the bundle before takes what comes, of which the one that is stable now refuses more than a trace.

    Requests that were refused for a rate that nobody noted may have come at any.
    """
    noted = sum(count for rate, count in requests.items() if rate and rate not in now.accepted_rates_hz)
    strange = rates_check(requests, refused, now).same is False
    return strange and refused <= noted and rates_check(requests, 0.0, before).same is True


def rates_check(requests: Mapping[int, float], refused: float, contract: FeatureContract) -> PipelineCheck:
    """Rates that audio came with (Hz -> requests of the last window), requests refused for theirs, and the contract."""
    accepted = set(contract.accepted_rates_hz)
    strange = {rate: count for rate, count in requests.items() if rate and rate not in accepted}
    asked = sum(requests.values())
    wrong = max(sum(strange.values()), refused)
    names = ", ".join(f"{rate} Hz" for rate in sorted(accepted))
    if not refused and not any(count for rate, count in requests.items() if rate):
        return PipelineCheck(name="sample rates", same=None, says="no audio came in the last window")
    if wrong <= TRACE * asked:
        return PipelineCheck(name="sample rates", same=True, says=f"audio comes at rates of the contract ({names})")
    found = ", ".join(f"{rate} Hz" for rate in sorted(strange)) or "other rates"
    says = f"{wrong / asked:.1%} of requests came at {found}; the contract names {names}"
    return PipelineCheck(name="sample rates", same=False, says=says)
