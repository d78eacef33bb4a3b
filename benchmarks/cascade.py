"""What the cascades of params.yaml save, and what they lose, at each threshold of their routers.

Boundary: runs both parts over the pack `commands` once, streams a sample at each threshold, and judges what a cascade
would have answered by the policy's own gates (evalpacks.scoring); prints; writes nothing.
Invariants: a threshold is judged as a release is: paired with the large part, on every gated slice. Metrics that need
streams are not asked; compute is measured of streams, in turns with the large part.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml

from benchmarks import frame
from contracts.policy import FamilyPolicy
from contracts.verdict import Value
from evalpacks.metrics import METRICS, Outputs
from evalpacks.pack import Pack, load
from evalpacks.scoring import score_report
from operations.settings import find_settings
from speech.cascade import TARGET, plans
from speech.run import read_audio, run_pack, time_pack
from speech.runtimes import cascade as cascade_engine
from speech.runtimes.cascade import CascadeRuntime
from speech.runtimes.cascade_routed import RoutedRuntime
from speech.runtimes.cascade_router import Sureness

if TYPE_CHECKING:
    import pandas as pd

THRESHOLDS = (0.8, 0.85, 0.9, 0.95, 0.99, 1.0)
TIMED = 60
"""Utterances of a timing pass."""
NOBODY = "0" * 64
"""Digest of payloads that are judged and never packaged."""


def measure(progress: frame.Progress) -> frame.Result:
    """Every threshold on the whole pack."""
    return _measure(None, progress)


def quick(progress: frame.Progress) -> frame.Result:
    """The same on every tenth utterance."""
    return _measure(10, progress)


def _measure(every: int | None, progress: frame.Progress) -> frame.Result:
    settings = find_settings()
    pack = load(settings.pack("commands"))
    pack = pack if every is None else _thinned(pack, every)
    policy = _unstreamed(settings.policy("asr-commands"))
    figures = {}
    for version in plans(yaml.safe_load(Path("params.yaml").read_text())):
        cascade = cascade_engine.load(TARGET / version / "payload")
        progress(f"both parts of {version} hear {len(pack.utterances)} utterances")
        small, large = (run_pack(part, pack.utterances, pack.root) for part in (cascade.small, cascade.large))
        sureness = _sureness(cascade, small, pack)
        for below in THRESHOLDS:
            cascade.below = below
            sent = ~(sureness >= below)
            saved = _saved(cascade, pack)
            verdicts = _verdicts(pack, _routed(small, large, sent), large, policy)
            name = f"{version}_below_{below:g}".replace(".", "_").replace("-", "_")
            figures[f"{name}_sent_on"] = frame.Figure(float(sent.mean()), "share", "lower")
            figures[f"{name}_compute_saved"] = frame.Figure(saved, "share", "higher")
            open_ones = sum(count for value, count in verdicts.items() if value is not Value.PASS)
            figures[f"{name}_not_passed"] = frame.Figure(float(open_ones), "comparisons", "lower")
            progress(f"{version} below {below:g}: {sent.mean():.0%} sent on, {saved:.0%} saved, {dict(verdicts)}")
    return frame.Result({"pack": pack.digest}, figures)


def _thinned(pack: Pack, every: int) -> Pack:
    return replace(pack, utterances=pack.utterances.iloc[::every].reset_index(drop=True))


def _sureness(
    cascade: CascadeRuntime | RoutedRuntime, small: pd.DataFrame, pack: Pack
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """How sure a cascade is of its small part's answers, (utterances,)."""
    if isinstance(cascade, CascadeRuntime):
        return small["confidence"].to_numpy(dtype=np.float64)
    least = []
    for path in pack.utterances["path"]:
        sureness = Sureness(cascade.router)
        sureness.hear(cascade.small.listen(read_audio(pack.root / path, cascade.sample_rate_hz))[1])
        least.append(sureness.end())
    return np.array(least)


def _saved(cascade: CascadeRuntime | RoutedRuntime, pack: Pack) -> float:
    """The share of the large part's compute that a cascade saves on a sample of streams."""
    sample = pack.utterances.sample(min(TIMED, len(pack.utterances)), random_state=7)
    tables = time_pack({"large": cascade.large, "cascade": cascade}, sample, pack.root)
    spent_s = {name: float(table["compute_s"].sum()) for name, table in tables.items()}
    return 1 - spent_s["cascade"] / spent_s["large"]


def _routed(small: pd.DataFrame, large: pd.DataFrame, sent: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> pd.DataFrame:
    """What the cascade would have answered."""
    columns = ["text", "confidence"]
    routed = small.copy()
    routed.loc[sent, columns] = large.loc[sent, columns]
    return routed


def _unstreamed(policy: FamilyPolicy) -> FamilyPolicy:
    """The policy without what needs streams, and without an exchange for savings."""
    asked = tuple(gate for gate in policy.quality if not METRICS[gate.metric].needs_stream)
    return policy.model_copy(update={"quality": asked, "exchange": None})


def _verdicts(pack: Pack, candidate: pd.DataFrame, stable: pd.DataFrame, policy: FamilyPolicy) -> Counter[Value]:
    report = score_report(
        family=policy.family,
        version="cascade",
        payload_digest=NOBODY,
        stable_payload=NOBODY,
        packs=[pack],
        candidate={pack.name: Outputs(candidate)},
        stable={pack.name: Outputs(stable)},
        policy=policy,
    )
    return Counter(one.verdict.value for one in report.comparisons)


if __name__ == "__main__":
    frame.main(measure, quick=quick)
