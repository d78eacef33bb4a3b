"""The production API, version 1.2: what a client sends and gets. Staging, canary and production all use it.

Boundary: no I/O. Source: coverage rows 3 and 30; release-algorithm R6.
Invariants: fields are only ever added; every answer names the bundle it came from (header `X-Soundcheck-Bundle`, field
`bundle` of stream messages), the request (`X-Request-Id`, 32 hexadecimal characters) and the version of the route
table that chose the bundle (`X-Soundcheck-Route`, field `route_version` of a stream's first message).

HTTP
    POST /v1/audio/transcriptions   multipart: file, model (the family), language?, response_format? (json, text,
                                    verbose_json), prompt and temperature are accepted and not used
    POST /v1/audio/speech           JSON: SpeechRequest, as OpenAI's client sends it; audio, as it is made
    POST /v1/audio/embeddings       multipart: file, model; Embedding
    POST /v1/audio/classifications  multipart: file, model; Classification
    POST /v1/events                 ClientEvent
    GET  /healthz /readyz /metrics
    GET  /openapi.json /asyncapi.json
    Headers read: Authorization: Bearer KEY; traceparent; X-Soundcheck-Session, -Tenant, -Device, -Language, -Codec,
    -Probe, -Priority (interactive, batch), -Deadline-Ms
    Headers sent: X-Request-Id, traceparent, X-Soundcheck-Bundle, -Route, of speech -Sample-Rate (Hz), and Retry-After
    with 429 and 503
WebSocket  /v1/audio/stream?model=FAMILY
    client: StreamStart as JSON text, then binary frames of little-endian 16-bit mono PCM, then {"type": "end"};
            StreamControl at any time after the start
    server: StreamReady, then Partial messages (and a StreamRestarted after a barge-in), then one Final, or one
            StreamCancelled, or one Error
WebSocket  /v1/audio/speech/stream?model=FAMILY
    client: SpeechStart as JSON text; {"type": "cancel"} at any time after it
    server: SpeechReady, then binary frames of little-endian 16-bit mono PCM, then SpeechDone, or as above
WebSocket  /v1/assistant?model=FAMILY
    client: AssistantStart, then turns: binary frames as for a stream, then {"type": "end"}; StreamControl at any time
    server: AssistantReady, then for each turn Partial messages, AssistantReply, binary frames of speech, AssistantDone;
            StreamRestarted after a barge-in, which ends what was being said; StreamCancelled, or one Error

Since 1.1: speech, embeddings, classifications and the assistant; error codes wrong_task and unusable_input.
Since 1.0: Transcription.segments; ApiError.retry_after_s; StreamStart.encoding, .partials, .priority, .language_hints,
.speaker_policy; StreamControl `cancel` and `barge_in`; StreamRestarted, StreamCancelled; error codes
unsupported_language, rate_limited, withdrawn; headers X-Soundcheck-Priority and -Deadline-Ms; /openapi.json and
/asyncapi.json.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from contracts.document import Part

API_VERSION = "1.2"
MAX_AUDIO_S = 600.0
MAX_FRAME_BYTES = 1 << 20
MAX_CHARACTERS = 4096
"""Of a text to say, as OpenAI's API has it; a voice may accept fewer."""
ANY_VOICE = "default"
"""The voice of the family, whatever its bundle calls it."""

SpeechFormat = Literal["mp3", "opus", "flac", "wav", "pcm"]

ErrorCode = Literal[
    "unauthorized",
    "unknown_model",
    "not_audio",
    "empty_audio",
    "unsupported_rate",
    "unsupported_channels",
    "too_long",
    "too_large",
    "bad_request",
    "unsupported_language",
    "wrong_task",
    "unusable_input",
    "overloaded",
    "rate_limited",
    "deadline",
    "no_stable",
    "withdrawn",
    "internal",
]

STATUS: dict[ErrorCode, int] = {
    "unauthorized": 401,
    "unknown_model": 404,
    "not_audio": 400,
    "empty_audio": 400,
    "unsupported_rate": 400,
    "unsupported_channels": 400,
    "too_long": 413,
    "too_large": 413,
    "bad_request": 400,
    "unsupported_language": 400,
    "wrong_task": 400,
    "unusable_input": 400,
    "overloaded": 429,
    "rate_limited": 429,
    "deadline": 504,
    "no_stable": 503,
    "withdrawn": 503,
    "internal": 500,
}


class Word(Part):
    """One word of a transcript: start and end in seconds from the start of the audio, confidence in [0, 1]."""

    word: str
    start: NonNegativeFloat
    end: NonNegativeFloat
    confidence: float | None = Field(default=None, ge=0, le=1)


class Segment(Part):
    """A stretch of speech, as the voice activity detector heard it, in seconds; its words, where they have times."""

    id: int
    start: NonNegativeFloat
    end: NonNegativeFloat
    text: str = ""


class Transcription(Part):
    """The answer to `POST /v1/audio/transcriptions` (`json` has `text` alone, `verbose_json` all of it)."""

    task: Literal["transcribe"] = "transcribe"
    language: str
    duration: NonNegativeFloat
    text: str
    words: tuple[Word, ...] = ()
    confidence: float | None = None
    segments: tuple[Segment, ...] = ()


class SpeechRequest(Part):
    """The body of `POST /v1/audio/speech`.

    `voice` is the bundle's own name of its voice, or `default`; `speed` other than 1 is refused; with `stream` false
    the answer comes when all of it is made, and a WAV file then says its length (FLAC always comes so); `stream_format`
    has one value, and `instructions` are accepted and not used.
    """

    model: str
    input: str = Field(min_length=1, max_length=MAX_CHARACTERS)
    voice: str = ANY_VOICE
    response_format: SpeechFormat = "mp3"
    speed: float = Field(default=1.0, ge=1, le=1)
    stream: bool = True
    stream_format: Literal["audio"] = "audio"
    instructions: str = ""


class Embedding(Part):
    """The answer to `POST /v1/audio/embeddings`: scores between vectors of different `space` mean nothing."""

    object: Literal["embedding"] = "embedding"
    embedding: tuple[float, ...]
    dimension: PositiveInt
    space: str
    duration: NonNegativeFloat
    bundle: str


class Classification(Part):
    """The answer to `POST /v1/audio/classifications`: the likeliest class, and each class's score; they sum to 1."""

    label: str
    scores: dict[str, float]
    duration: NonNegativeFloat
    bundle: str


class ApiError(Part):
    """The body of a refused request, in the form the OpenAI client reads: `{"error": {...}}`.

    `retry_after_s` is the header Retry-After, for streams too: seconds after which asking again is of use.
    """

    code: ErrorCode
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    retry_after_s: PositiveInt | None = None


class StreamStart(Part):
    """First message of a stream."""

    type: Literal["start"] = "start"
    sample_rate: PositiveInt
    encoding: Literal["pcm_s16le"] = "pcm_s16le"
    language: str = ""
    language_hints: tuple[str, ...] = ()
    speaker_policy: Literal["single"] = "single"
    priority: Literal["interactive", "batch"] = "interactive"
    partials: bool = True
    session: str = ""
    labels: dict[str, str] = {}


class StreamControl(Part):
    """What a client says between frames.

    `end`: no more audio comes. `cancel`: nobody wants the answer; the decoder state is dropped and StreamCancelled ends
    the stream. `barge_in`: the speaker began anew, over what was being played; what was heard so far is dropped, a
    StreamRestarted says so and the utterance begins here, on the same bundle.
    """

    type: Literal["end", "cancel", "barge_in"]


class StreamRestarted(Part):
    """A barge-in was taken: the utterance begins at `audio_s` seconds of the stream's audio."""

    type: Literal["restarted"] = "restarted"
    audio_s: NonNegativeFloat
    bundle: str


class StreamCancelled(Part):
    """The stream was cancelled by its client; no final comes."""

    type: Literal["cancelled"] = "cancelled"
    request_id: str
    bundle: str


class StreamReady(Part):
    """The stream is open; it stays on this bundle until its end (R7.7, fault 61)."""

    type: Literal["ready"] = "ready"
    request_id: str
    bundle: str
    route_version: int | None = None


class PartialResult(Part):
    """A hypothesis so far: the first `committed` words never change again."""

    type: Literal["partial"] = "partial"
    text: str
    committed: int
    audio_s: NonNegativeFloat
    bundle: str


class FinalResult(Part):
    """The last word of a stream."""

    type: Literal["final"] = "final"
    text: str
    words: tuple[Word, ...] = ()
    confidence: float | None = None
    audio_s: NonNegativeFloat
    bundle: str
    request_id: str


class StreamError(Part):
    """The stream ended without a final."""

    type: Literal["error"] = "error"
    error: ApiError


class SpeechStart(Part):
    """First message of a text to be said; fields as in SpeechRequest and StreamStart."""

    type: Literal["start"] = "start"
    input: str = Field(min_length=1, max_length=MAX_CHARACTERS)
    voice: str = ANY_VOICE
    encoding: Literal["pcm_s16le"] = "pcm_s16le"
    priority: Literal["interactive", "batch"] = "interactive"
    session: str = ""
    labels: dict[str, str] = {}


class SpeechReady(Part):
    """The text will be said by this bundle, at `sample_rate` Hz."""

    type: Literal["ready"] = "ready"
    request_id: str
    bundle: str
    route_version: int | None = None
    sample_rate: PositiveInt


class SpeechDone(Part):
    """All was sent: `audio_s` seconds of it."""

    type: Literal["done"] = "done"
    audio_s: NonNegativeFloat
    bundle: str
    request_id: str


class AssistantStart(Part):
    """First message of a dialogue; fields as in StreamStart. Whose documents are asked is said by the API key."""

    type: Literal["start"] = "start"
    sample_rate: PositiveInt
    encoding: Literal["pcm_s16le"] = "pcm_s16le"
    language: str = ""
    priority: Literal["interactive", "batch"] = "interactive"
    partials: bool = True
    session: str = ""
    labels: dict[str, str] = {}


class AssistantReady(Part):
    """The dialogue is open; all of its turns stay on this bundle, which speaks at `voice_rate` Hz."""

    type: Literal["ready"] = "ready"
    request_id: str
    bundle: str
    route_version: int | None = None
    voice_rate: PositiveInt


class AssistantReply(Part):
    """What was understood and what is answered; its speech follows, unless `spoken` is false.

    `request_id` names the turn, in telemetry too; `citations` are ids of passages, best first; `grounded` says whether
    they hold every statement; `handoff` that a person should take over. A reply that redaction has changed is not
    spoken.
    """

    type: Literal["reply"] = "reply"
    turn: NonNegativeInt
    heard: str
    text: str
    citations: tuple[str, ...] = ()
    grounded: bool
    handoff: bool
    spoken: bool
    bundle: str
    request_id: str


class AssistantDone(Part):
    """A turn is over: `audio_s` seconds of speech were sent. The next frame of audio begins the next turn."""

    type: Literal["done"] = "done"
    turn: NonNegativeInt
    audio_s: NonNegativeFloat
    bundle: str
    request_id: str
