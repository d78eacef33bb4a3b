"""Telemetry: one row a request, without private content, and the counts that labelled probes join to it.

Boundary: no I/O, no clock. Source: release-algorithm R7.8; house.md `judge`.
Invariants: no column can hold a transcript, audio, a user id or a token; session and tenant are keyed hashes or names
from a fixed list; the columns below are all there are.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, StringConstraints

from contracts.digest import Digest
from contracts.document import Part
from contracts.policy import Task

Label = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.+-]{0,39}$")]
"""A slice value: short, lower case, from a small set; the pattern keeps sentences and identifiers out."""

Flag = Annotated[int, Field(ge=0, le=1)]
"""1: yes, 0: no; a number, so that it is summed like every other count."""

REQUEST_LABELS = ("tenant", "device", "language", "codec", "probe")
"""Labels known at request time, so that they can be routed by (header `X-Soundcheck-NAME`)."""

PROBE_LABELS = ("accent", "noise", "length", "speed")
"""Labels known only for labelled probes: they come with the probe's counts afterwards."""


class TelemetryRow(Part):
    """One answered (or failed) request.

    Units: `timestamp` seconds since the epoch at the answer; `*_ms` milliseconds on a monotonic clock; `*_s` seconds of
    audio; `level_dbfs` and `snr_db` decibels of the whole utterance; `clipped` the share of samples at full scale;
    `batch` how many utterances the model heard at once; `worker_died` worker processes that died over the request;
    `cost_usd` US dollars of compute. `errors` and `words` are filled for labelled probes alone, in the units of the
    family's task; `cascade_edits` and `cascade_words` where a cascade's large model heard what the small one had
    answered. Of a synthesis `audio_s` is audio made. Of what is spoken: `first_audio_ms` runs from the whole text (in a
    dialogue from the end of the user's speech) to the first samples, `starved` is 1 where playing them as they were
    sent would have paused, `cached` 1 where the worker had kept the audio. Of a dialogue, one row a turn: `tokens` of a
    language model, `handoff` and `grounded` 0 or 1, `citations` and `reply_words` counts, `barge_ins` 1 where the user
    broke in, `index_age_s` seconds since the tenant's documents were brought up to date.
    """

    timestamp: float
    request_id: str
    session_id: str
    family: str
    bundle: Digest
    arm: Literal["stable", "canary", "shadow"]
    route_version: NonNegativeInt
    mode: Literal["http", "stream"]
    task: Task = "transcription"
    tenant: Label = "none"
    device: Label = "none"
    language: Label = "none"
    codec: Label = "none"
    probe: Label = "no"
    accent: Label | None = None
    noise: Label | None = None
    length: Label | None = None
    speed: Label | None = None
    priority: Literal["interactive", "batch"] = "interactive"
    degraded: Literal["no", "no_partials", "smaller"] = "no"
    cascade: Literal["none", "small", "large", "audit"] = "none"
    status: NonNegativeInt
    error_code: str = ""
    worker_died: NonNegativeInt = 0
    retries: NonNegativeInt = 0
    audio_s: NonNegativeFloat
    sent_rate_hz: NonNegativeInt = 0
    speech_s: NonNegativeFloat | None = None
    segments: NonNegativeInt | None = None
    level_dbfs: float | None = None
    snr_db: float | None = None
    clipped: float | None = Field(default=None, ge=0, le=1)
    latency_ms: NonNegativeFloat
    first_partial_ms: NonNegativeFloat | None = None
    preprocess_ms: NonNegativeFloat = 0.0
    queue_ms: NonNegativeFloat
    infer_ms: NonNegativeFloat
    postprocess_ms: NonNegativeFloat = 0.0
    batch: NonNegativeInt = 1
    partial_words: NonNegativeInt = 0
    unstable_words: NonNegativeInt = 0
    confidence: float | None = Field(default=None, ge=0, le=1)
    cost_usd: NonNegativeFloat
    privacy_errors: NonNegativeInt = 0
    shadow_edits: NonNegativeInt | None = None
    shadow_words: NonNegativeInt | None = None
    cascade_edits: NonNegativeInt | None = None
    cascade_words: NonNegativeInt | None = None
    confidence_before: float | None = Field(default=None, ge=0, le=1)
    first_audio_ms: NonNegativeFloat | None = None
    starved: Flag | None = None
    spoken_s: NonNegativeFloat | None = None
    characters: NonNegativeInt | None = None
    cached: Flag | None = None
    tokens: NonNegativeInt | None = None
    handoff: Flag | None = None
    grounded: Flag | None = None
    citations: NonNegativeInt | None = None
    reply_words: NonNegativeInt | None = None
    barge_ins: NonNegativeInt | None = None
    index_age_s: NonNegativeFloat | None = None
    errors: NonNegativeInt | None = None
    words: NonNegativeInt | None = None


class ClientEvent(Part):
    """What a client tells afterwards at `POST /v1/events`: kinds and counts, never text."""

    request_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    kind: Literal["probe", "correction", "underrun", "interruption", "abandonment", "cancellation", "support_ticket"]
    errors: NonNegativeInt | None = None
    words: NonNegativeInt | None = None
    labels: dict[Literal["accent", "noise", "length", "speed"], Label] = {}
