"""What both documents of the production API say alike: words, headers, errors, schemas.

Boundary: pure; serving/openapi.py and serving/asyncapi.py build the documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from contracts.serving_api import API_VERSION, MAX_AUDIO_S, MAX_FRAME_BYTES, ErrorCode
from contracts.telemetry import REQUEST_LABELS
from serving.audio import MAX_UPLOAD_BYTES, QUALITY
from serving.ingress import MAX_DEADLINE_MS, PRIORITIES
from serving.objectives import Objectives

Json = dict[str, Any]

COMPATIBILITY = (
    f"Version {API_VERSION}. Within a major version fields, messages, headers and error codes are only added, what a "
    "client need not send keeps its default, and nothing changes its meaning: a client ignores what it does not know. "
    "Requests that clients of version 1.0 sent, and what they were answered, are kept and replayed against every "
    "change (tests/fixtures/api-1.0)."
)

AUDIO = (
    f"Mono audio at a rate that the model's feature contract names, of at most {MAX_AUDIO_S:.0f} s. Another rate is "
    "refused with `unsupported_rate`, never resampled silently; an accepted rate unlike the model's goes through the "
    f"resampler that the contract declares ({', '.join(QUALITY)})."
)

REDACTION = (
    "Text leaves redacted by the rules of the bundle that answers: long runs of digits, written or spoken, as "
    "`[number]`, addresses as `[email]`; words that may still grow into such a run are not committed. Neither audio "
    "nor text is stored or logged."
)

ROUTING = (
    "A session (`X-Soundcheck-Session`) stays on one bundle for the life of a route table, a stream for all of its "
    "life. Every answer names its bundle, its request and the version of the route table."
)

ERRORS: dict[ErrorCode, str] = {
    "unauthorized": "no API key, or one that is not valid",
    "unknown_model": "this gateway serves no such family",
    "not_audio": "the file is not audio that can be decoded, or holds samples that are not finite",
    "empty_audio": "there is no sample",
    "unsupported_rate": "the feature contract does not name the sample rate",
    "unsupported_channels": "the audio is not mono",
    "too_long": f"over {MAX_AUDIO_S:.0f} s",
    "too_large": f"an upload over {MAX_UPLOAD_BYTES >> 20} MiB, or a frame over {MAX_FRAME_BYTES} bytes",
    "bad_request": "a field, header or message is missing, malformed or out of place",
    "unsupported_language": "the model was not released for the language that the request names",
    "wrong_task": "the family does something else; the message names its route",
    "unusable_input": "the model cannot do anything with the input: it is too short, or there is nothing to say",
    "overloaded": "the queue of the request's class is full",
    "rate_limited": "the key asks more often than it may",
    "deadline": "no answer within the deadline, or nothing was sent for as long",
    "no_stable": "no bundle of the family is served yet",
    "withdrawn": "the bundle was withdrawn; its successor serves new requests",
    "internal": "the model or the gateway failed",
}

SENT_HEADERS: dict[str, Json] = {
    "X-Request-Id": {"description": "The request; also its trace id.", "schema": {"pattern": "^[0-9a-f]{32}$"}},
    "traceparent": {"description": "W3C trace context of the gateway's own span.", "schema": {}},
}
ROUTED_HEADERS: dict[str, Json] = {
    "X-Soundcheck-Bundle": {"description": "The bundle that answered.", "schema": {"pattern": "^[0-9a-f]{64}$"}},
    "X-Soundcheck-Route": {"description": "Version of the route table that chose it.", "schema": {}},
}
READ_HEADERS: dict[str, Json] = {
    "traceparent": {"description": "W3C trace context; its trace id becomes the request's id."},
    "X-Soundcheck-Session": {"description": "The session; it stays on one bundle. Stored as a keyed hash alone."},
    "X-Soundcheck-Priority": {
        "description": "Interactive requests go before batch ones and have a queue of their own.",
        "schema": {"type": "string", "enum": list(PRIORITIES), "default": "interactive"},
    },
    "X-Soundcheck-Deadline-Ms": {
        "description": "Milliseconds after which nobody wants the answer; at most what the gateway allows.",
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_DEADLINE_MS},
    },
    **{
        f"X-Soundcheck-{name.capitalize()}": {"description": f"Label `{name}`: short, lower case, from a small set."}
        for name in REQUEST_LABELS
    },
}


def schemas_of(models: tuple[type[BaseModel], ...]) -> Json:
    """JSON schemas of these models and of what they hold, by name."""
    _, found = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    schemas: Json = found["$defs"]
    for schema in schemas.values():
        # The server refuses what it does not know; a client does not, so that fields can be added (COMPATIBILITY).
        schema.pop("additionalProperties", None)
    return schemas


def an_object(properties: Json, *required: str) -> Json:
    """The schema of an object."""
    return {"type": "object", "required": list(required), "properties": properties}


def reference(model: type[BaseModel]) -> Json:
    """A reference to a model's schema."""
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def info_of(title: str, objectives: Mapping[str, Objectives]) -> Json:
    """The head of a document; `objectives` is what each family promises, where it is known."""
    info: Json = {
        "title": title,
        "version": API_VERSION,
        "description": "\n\n".join((COMPATIBILITY, AUDIO, REDACTION, ROUTING)),
    }
    if objectives:
        info["x-slo"] = {family: _slo(promised) for family, promised in sorted(objectives.items())}
    return info


def _slo(promised: Objectives) -> Json:
    latency = {"latency_ms": promised.latency_ms, "latency_share": promised.latency_share}
    return {"availability": promised.availability, **(latency if promised.latency_ms else {}), "privacy_errors": 0}
