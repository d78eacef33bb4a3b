"""How a release policy differs from the one before it, in sentences a person reads (R4.7).

Boundary: pure; two policies in, sentences out.
Invariants: policies with different digests differ in at least one sentence; "looser" and "stricter" stand only where a
change in that direction lets more, or fewer, candidates through whatever else the policy says.
Source: release-algorithm R4.7.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from contracts.policy import FamilyPolicy
from evalpacks.metrics import METRICS

_LIMITS = {
    "quality[].margin",
    "quality[].limit",
    "quantization.margin",
    "safety.max_hallucinating_clips",
    "safety.max_redaction_leaks",
    "staging.golden_max_word_edits",
    "staging.max_growth_mb_per_1000",
    "canary.metrics[].margin",
}
"""A rise lets more through; so do all of `serving`. One that is not set holds nobody."""
_DEMANDS = {
    "quality[]",
    "quality[].min_speakers",
    "quality[].min_support",
    "exchange.min_saving",
    "high_risk",
    "high_risk_slices[]",
    "staging.requests",
    "staging.golden_fixtures",
    "staging.soak_requests",
    "staging.long_audio_s",
    "canary.metrics[]",
    "canary.slices[]",
    "canary.min_sessions",
    "approvals.mode",
    "approvals.quorum",
    "approvals.mandatory[]",
    "bake_time_s",
}
"""A rise, or one more, lets fewer through."""
_GRANTS = {"exchange", "exchange.extra_margin", "waivers[]"}
"""A rise, or one more, lets more through."""

_ORDERED = {"ui": 0.0, "signed": 1.0}
_MEMBER = "listed"
_LOOSER, _STRICTER = " (looser)", " (stricter)"


def policy_changes(before: FamilyPolicy, after: FamilyPolicy) -> tuple[str, ...]:
    """One sentence a difference, in the order of names; () for equal policies.

    `quality[commands wer protected].margin: 0.03 -> 0.05 (looser)`
    """
    if before.digest() == after.digest():
        return ()
    found = tuple(_differences("", before.model_dump(mode="json"), after.model_dump(mode="json")))
    return found or ("the same settings stand in another order",)


def _differences(path: str, before: Any, after: Any) -> Iterator[str]:
    if before == after:
        return
    if isinstance(before, list) and isinstance(after, list):
        before, after = _by_name(before), _by_name(after)
    if not isinstance(before, dict) or not isinstance(after, dict):
        yield _sentence(path, before, after)
        return
    for name in sorted(before.keys() | after.keys()):
        below = f"{path}{name}" if name.startswith("[") or not path else f"{path}.{name}"
        yield from _differences(below, before.get(name), after.get(name))


def _by_name(items: Sequence[Any]) -> dict[str, Any]:
    """A list as a mapping: a gate by what it asks, a waiver by its check, anything else by itself."""
    named: dict[str, Any] = {}
    times = Counter[str]()
    for item in items:
        name = _name(item)
        times[name] += 1
        key = name if times[name] == 1 else f"{name} {times[name]}"
        named[f"[{key}]"] = item if isinstance(item, dict) else _MEMBER
    return named


def _name(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    if "check" in item:
        return str(item["check"])
    words = [item["pack"], item["metric"], _text(item["slices"]), "relative" if item["relative"] else ""]
    return " ".join(filter(None, words))


def _sentence(path: str, before: Any, after: Any) -> str:
    if isinstance(after or before, dict) or _MEMBER in (before, after):
        change = "added" if before is None else "removed"
        details = "" if _MEMBER in (before, after) or before is not None else f", {_text(after)}"
        return f"{path}: {change}{details}{_direction(path, before, after)}"
    return f"{path}: {_text(before)} -> {_text(after)}{_direction(path, before, after)}"


def _direction(path: str, before: Any, after: Any) -> str:
    """Whether the change lets more candidates through, where that is known."""
    rule = re.sub(r"\[[^\]]*\]", "[]", path)
    rule = re.sub(r"^canary\.metrics\.[^.]+", "canary.metrics[]", rule)
    if rule in _LIMITS or rule.startswith("serving."):
        rise, unset = _LOOSER, math.inf
    elif rule in _DEMANDS:
        rise, unset = _STRICTER, -math.inf
    elif rule in _GRANTS:
        rise, unset = _LOOSER, -math.inf
    else:
        return ""
    risen = _rank(after, unset) > _rank(before, unset)
    if rule == "quality[].limit" and METRICS[_metric(path)].better == "higher":
        risen = not risen
    fall = _STRICTER if rise == _LOOSER else _LOOSER
    return rise if risen else fall


def _metric(path: str) -> Any:
    """The metric of `quality[PACK METRIC SLICES].limit`."""
    return path.split(" ")[1]


def _rank(value: Any, unset: float) -> float:
    if value is None:
        return unset
    if isinstance(value, (bool, int, float)):
        return float(value)
    return _ORDERED.get(value, 0.0) if isinstance(value, str) else 0.0


def _text(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return "+".join(_text(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items() if item is not None)
    return str(value)
