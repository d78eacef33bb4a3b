"""The exclusive timing pass of a release: how fast, how large and how dear candidate and stable are (R3).

Boundary: runs models in processes of their own, alone on the machine; puts one document in the store.
Invariants: candidate and stable are measured in the same pass, taking turns utterance by utterance; peak memory is that
of a process that loads one payload and nothing else; what streams is shown to stream before its delays count; a
transcript is shown only where the pack's consent allows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from contracts.digest import Digest
from contracts.policy import FamilyPolicy, Statistics
from contracts.registry_entry import ResourceEnvelope
from contracts.reports import Quantiles, StreamTimeline, TimelineEvent, TimingReport
from operations import compute
from operations.context import Context, put

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from evalpacks.pack import Pack
    from speech.runtimes.kinds import Model

WARM_UP = 5
"""Utterances heard before anything is measured: caches are filled, lazy parts of an engine are loaded."""


CHUNKS = 5
"""Chunks that an utterance has at least where a stream is shown to be one; a very short one is cut finer."""


class Measured(NamedTuple):
    """One payload's figures: distributions in ms (None where there is no such moment), MB, US dollars an audio hour."""

    final_ms: Quantiles
    first_partial_ms: Quantiles | None
    first_stable_ms: Quantiles | None
    endpoint_ms: Quantiles | None
    rtf: float
    peak_memory_mb: float
    cost_usd_per_audio_hour: float
    first_audio_ms: Quantiles | None
    underrun_share: float | None
    cost_usd_per_answer: float | None


def timing_report(
    context: Context,
    policy: FamilyPolicy,
    pack: Pack,
    *,
    payload_digest: Digest,
    stable_payload: Digest | None,
    folders: Mapping[str, Path],
) -> TimingReport:
    """Time the payloads in `folders` (`candidate`, perhaps `stable`) on a seeded sample of the pack."""
    settings = policy.statistics
    count = min(settings.timed_utterances, len(pack.utterances))
    sample = pack.utterances.sample(count, random_state=settings.seed)
    steps = len(folders) + 1
    context.progress("timing pass", 0, steps)
    memory = {}
    faults: dict[str, tuple[str, ...]] = {}
    for done, (name, folder) in enumerate(folders.items(), 1):
        memory[name], faults[name] = compute.alone(_alone, folder, sample, pack.root, settings.chunk_ms)
        context.progress("timing pass", done, steps)
    tables, timeline = compute.alone(_time, dict(folders), sample, pack, settings)
    context.progress("timing pass", steps, steps)
    speakers = sample["speaker"].to_numpy()
    measured = {name: _measured(tables[name], speakers, memory[name], policy.envelope) for name in folders}
    return TimingReport(
        family=policy.family,
        payload_digest=payload_digest,
        stable_payload=stable_payload,
        utterances=count,
        timeline=put(context, timeline)[0] if timeline else None,
        stream_faults=faults["candidate"],
        **measured["candidate"]._asdict(),
        **_of_stable(measured.get("stable")),
    )


def _of_stable(measured: Measured | None) -> dict[str, Any]:
    figures = measured._asdict() if measured else dict.fromkeys(Measured._fields)
    return {f"stable_{name}": value for name, value in figures.items()}


def _alone(payload: Path, sample: pd.DataFrame, root: Path, chunk_ms: int) -> tuple[float, tuple[str, ...]]:
    """Peak memory (MB), and what shows that a stream does not hear, of a payload in a process that loads it alone."""
    from speech.honesty import check_causal
    from speech.memory import peak_memory_mb
    from speech.run import read_audio
    from speech.runtimes.kinds import transcriber

    model = compute.model(payload)
    _warm_up(model, sample, root)
    memory_mb = peak_memory_mb()
    if not compute.streams(payload):
        return memory_mb, ()
    runtime = transcriber(model)
    unheard = sample.iloc[WARM_UP:] if len(sample) > WARM_UP else sample
    longest = unheard.nlargest(1, "duration_s").to_dict("records")[0]
    audio = read_audio(root / str(longest["path"]), runtime.sample_rate_hz)
    shortest_ms = int(audio.size / runtime.sample_rate_hz * 1000 / CHUNKS)
    return memory_mb, check_causal(runtime, audio, chunk_ms=min(chunk_ms, shortest_ms))


def _warm_up(model: Model, sample: pd.DataFrame, root: Path) -> None:
    """Let a model answer the first of a sample, outside of every measurement."""
    from speech.kinds import Prompt, kind
    from speech.runtimes.kinds import task_of

    task = kind(task_of(model))
    for row in sample.head(WARM_UP).to_dict("records"):
        path = root / str(row["path"]) if task.hears else None
        task.answer(model, Prompt(path, "" if task.hears else str(row["text"]), str(row.get("tenant", ""))))


def _time(
    folders: Mapping[str, Path], sample: pd.DataFrame, pack: Pack, settings: Statistics
) -> tuple[dict[str, pd.DataFrame], StreamTimeline | None]:
    from speech.kinds import kind
    from speech.runtimes.kinds import task_of

    models = {name: compute.model(folder) for name, folder in folders.items()}
    for model in models.values():
        _warm_up(model, sample, pack.root)
    task = task_of(models["candidate"])
    tables = kind(task).time_pack(models, sample, pack.root, chunk_ms=settings.chunk_ms)
    timeline = _timeline(folders["candidate"], pack, settings.chunk_ms) if task == "transcription" else None
    return tables, timeline


def _timeline(payload: Path, pack: Pack, chunk_ms: int) -> StreamTimeline | None:
    """The longest utterance of a pack whose consent lets it be shown, as the payload streams it."""
    from speech.run import hear, read_audio

    runtime = compute.runtime(payload)
    if not pack.meta.show_transcripts or not runtime.streaming:
        return None
    row = pack.utterances.nlargest(1, "duration_s").to_dict("records")[0]
    heard = hear(runtime, read_audio(pack.root / str(row["path"]), runtime.sample_rate_hz), chunk_ms=chunk_ms)
    return StreamTimeline(
        pack=pack.name,
        utterance_id=str(row["utterance_id"]),
        reference=str(row["text"]),
        duration_s=float(row["duration_s"]),
        chunk_ms=chunk_ms,
        events=tuple(TimelineEvent(**event._asdict()) for event in heard.events),
    )


def _measured(
    table: pd.DataFrame, speakers: npt.NDArray[np.object_], peak_memory_mb: float, envelope: ResourceEnvelope
) -> Measured:
    """A payload's figures; intervals take the speakers for independent, not their utterances (U1)."""
    from evalpacks.matching import speaker_codes
    from evalpacks.metrics.cost import cost_usd_per_audio_hour
    from evalpacks.metrics.latency import quantiles, real_time_factor

    def distribution(column: str) -> Quantiles | None:
        if column not in table.columns:
            return None
        there = table[column].notna().to_numpy()
        codes = speaker_codes([str(name) for name in speakers[there]])
        return quantiles(table[column].to_numpy()[there], speakers=codes) if there.any() else None

    final = distribution("final_ms")
    assert final is not None
    rtf = real_time_factor(table["compute_s"], table["audio_s"])
    cost = cost_usd_per_audio_hour(
        rtf=rtf,
        cpu_cores=envelope.cpu_cores,
        peak_memory_mb=peak_memory_mb,
        usd_per_core_hour=envelope.price_usd_per_core_hour,
        usd_per_gb_hour=envelope.price_usd_per_gb_hour,
    )
    speaks = "first_audio_ms" in table.columns
    return Measured(
        final_ms=final,
        first_partial_ms=distribution("first_partial_ms"),
        first_stable_ms=distribution("first_stable_ms"),
        endpoint_ms=distribution("endpoint_ms"),
        rtf=rtf,
        peak_memory_mb=peak_memory_mb,
        cost_usd_per_audio_hour=cost,
        first_audio_ms=distribution("first_audio_ms"),
        underrun_share=float(table["starved"].mean()) if speaks else None,
        cost_usd_per_answer=cost * float(table["audio_s"].mean()) / 3600 if speaks else None,
    )
