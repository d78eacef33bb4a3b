"""What a cascade of two candidates would save, and what it would lose, at each threshold of its router.

Boundary: runs both parts over the pack `commands` once, and judges what a cascade would have answered by the policy's
own gates (evalpacks.scoring); prints; writes nothing.
Invariants: a threshold is judged as a release is: paired with the large part, on every gated slice. Metrics that need
streams are not asked, and cost is of streams: the small part hears every chunk, the large part the whole utterance of
what is sent on.
"""

from __future__ import annotations

import time
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
from speech.runtimes import Runtime
from speech.runtimes import load as load_engine

if TYPE_CHECKING:
    import pandas as pd

THRESHOLDS = (0.8, 0.9, 0.95, 0.98, 0.99, 0.998, 1.0)
TIMED = 60
"""Utterances of the timing passes."""
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
    version, plan = next(iter(plans(yaml.safe_load(Path("params.yaml").read_text())).items()))
    pack = load(settings.pack("commands"))
    pack = pack if every is None else _thinned(pack, every)
    models = {name: load_engine(TARGET / name / "payload") for name in (plan.small, plan.large)}
    heard = {}
    for name, model in models.items():
        progress(f"{name} hears {len(pack.utterances)} utterances")
        heard[name] = run_pack(model, pack.utterances, pack.root)
    streamed, whole = _seconds(models, pack, progress)
    policy = _unstreamed(settings.policy("asr-commands"))
    figures = {}
    for below in THRESHOLDS:
        sent = ~(heard[plan.small]["confidence"].to_numpy(dtype=np.float64) >= below)
        saved = 1 - (streamed[plan.small] + sent.mean() * whole) / streamed[plan.large]
        verdicts = _verdicts(pack, _routed(heard[plan.small], heard[plan.large], sent), heard[plan.large], policy)
        name = f"below_{below:g}".replace(".", "_")
        figures[f"{name}_sent_on"] = frame.Figure(float(sent.mean()), "share", "lower")
        figures[f"{name}_compute_saved"] = frame.Figure(float(saved), "share", "higher")
        open_ones = sum(count for value, count in verdicts.items() if value is not Value.PASS)
        figures[f"{name}_not_passed"] = frame.Figure(float(open_ones), "comparisons", "lower")
        progress(f"below {below:g}: {sent.mean():.0%} sent on, {saved:.0%} saved, {dict(verdicts)}")
    return frame.Result({"cascade": version, "small": plan.small, "large": plan.large, "pack": pack.digest}, figures)


def _thinned(pack: Pack, every: int) -> Pack:
    return replace(pack, utterances=pack.utterances.iloc[::every].reset_index(drop=True))


def _seconds(models: dict[str, Runtime], pack: Pack, progress: frame.Progress) -> tuple[dict[str, float], float]:
    """Compute a second of audio: of each model as it streams; of the large one (the last) hearing it whole."""
    sample = pack.utterances.sample(min(TIMED, len(pack.utterances)), random_state=7)
    progress("timing")
    tables = time_pack(models, sample, pack.root)
    streamed = {name: float(table["compute_s"].sum() / table["audio_s"].sum()) for name, table in tables.items()}
    large = list(models.values())[-1]
    audio = [read_audio(pack.root / path, large.sample_rate_hz) for path in sample["path"]]
    began = time.perf_counter()
    for samples in audio:
        large.transcribe(samples)
    spent_s = time.perf_counter() - began
    return streamed, spent_s * large.sample_rate_hz / sum(samples.size for samples in audio)


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
