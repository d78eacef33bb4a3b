"""The production API as documents: OpenAPI 3.1 of what goes over HTTP, AsyncAPI 3.0 of the WebSocket.

    python -m serving.openapi [FOLDER]      writes openapi.json and asyncapi.json (default: docs/api)

Boundary: pure but for `main`; the schemas come from the models of contracts/serving_api.py, which the gateway itself
uses, the words around them stand here. Source: coverage row 3; https://spec.openapis.org/oas/v3.1.0,
https://www.asyncapi.com/docs/reference/specification/v3.0.0.
Invariants: equal contracts give equal bytes; tests/serving/test_api_documents.py holds the kept copies to them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from contracts import serving_api as api
from contracts.live import LiveReport
from contracts.serving_api import API_VERSION, MAX_AUDIO_S, MAX_FRAME_BYTES, STATUS, ErrorCode
from contracts.telemetry import REQUEST_LABELS, ClientEvent
from serving.answers import FORMATS
from serving.audio import MAX_UPLOAD_BYTES, QUALITY
from serving.ingress import MAX_DEADLINE_MS, PRIORITIES
from serving.objectives import Objectives

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "api"

Json = dict[str, Any]

_BYTES: Json = {"type": "string", "contentMediaType": "application/octet-stream"}

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

HTTP_MODELS: tuple[type[BaseModel], ...] = (api.Transcription, api.ApiError, ClientEvent, LiveReport)
CLIENT_MESSAGES: dict[str, tuple[type[BaseModel], str]] = {
    "start": (api.StreamStart, "The first message."),
    "control": (api.StreamControl, "`end`, `cancel` or `barge_in`, between frames."),
}
SERVER_MESSAGES: dict[str, tuple[type[BaseModel], str]] = {
    "ready": (api.StreamReady, "The stream is open."),
    "partial": (api.PartialResult, "A hypothesis; its first `committed` words never change again."),
    "restarted": (api.StreamRestarted, "A barge-in was taken."),
    "final": (api.FinalResult, "The transcript; the stream is closed with 1000."),
    "cancelled": (api.StreamCancelled, "The client cancelled; the stream is closed with 1000."),
    "error": (api.StreamError, "The stream ends without a final; it is closed with 1008, or 1011 where we failed."),
}


def _schemas(models: tuple[type[BaseModel], ...]) -> Json:
    _, found = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    schemas: Json = found["$defs"]
    for schema in schemas.values():
        # The server refuses what it does not know; a client does not, so that fields can be added (COMPATIBILITY).
        schema.pop("additionalProperties", None)
    return schemas


def _object(properties: Json, *required: str) -> Json:
    return {"type": "object", "required": list(required), "properties": properties}


def _reference(model: type[BaseModel]) -> Json:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _error(status: int) -> Json:
    codes = [code for code in get_args(ErrorCode) if STATUS[code] == status]
    headers = dict(SENT_HEADERS)
    if status in (429, 503):
        headers["Retry-After"] = {
            "description": "Seconds after which asking again is of use.",
            "schema": {"type": "integer", "minimum": 1},
        }
    error = _object({"error": _reference(api.ApiError)}, "error")
    return {
        "description": "; ".join(f"`{code}`: {ERRORS[code]}" for code in codes),
        "headers": headers,
        "content": {"application/json": {"schema": error}},
    }


def _errors(*codes: ErrorCode) -> Json:
    statuses = sorted({STATUS[code] for code in (*codes, "internal")})
    return {str(status): _error(status) for status in statuses}


def _json(description: str, schema: Json) -> Json:
    return {"description": description, "headers": SENT_HEADERS, "content": {"application/json": {"schema": schema}}}


def _transcribe() -> Json:
    text: Json = {"type": "string"}
    form: Json = {
        "type": "object",
        "required": ["file", "model"],
        "properties": {
            "file": {
                **text,
                "contentMediaType": "application/octet-stream",
                "description": f"WAV, FLAC or Ogg. {AUDIO}",
            },
            "model": {**text, "description": "The family."},
            "language": {**text, "description": "BCP 47; one that the model was not released for is refused."},
            "response_format": {**text, "enum": list(FORMATS), "default": "json"},
            "timestamp_granularities[]": {"type": "array", "items": {**text, "enum": ["word", "segment"]}},
            "prompt": {**text, "description": "Accepted for OpenAI's clients, not used."},
            "temperature": {**text, "description": "Accepted for OpenAI's clients, not used."},
        },
    }
    text_alone = _object({"text": text}, "text")
    answered: Json = {
        "description": f"The transcript. {REDACTION}",
        "headers": {**SENT_HEADERS, **ROUTED_HEADERS},
        "content": {
            "application/json": {"schema": {"anyOf": [_reference(api.Transcription), text_alone]}},
            "text/plain": {"schema": text},
        },
    }
    return {
        "operationId": "transcribe",
        "summary": "Transcribe a file.",
        "description": f"As OpenAI's clients ask it. {ROUTING}",
        "parameters": [
            {"name": name, "in": "header", "schema": {"type": "string"}, **said} for name, said in READ_HEADERS.items()
        ],
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": form}},
        },
        "responses": {
            "200": answered,
            **_errors(
                "unauthorized", "unknown_model", "bad_request", "too_large", "overloaded", "no_stable", "deadline"
            ),
        },
    }


def _open(operation: str, summary: str, responses: Json) -> Json:
    return {"operationId": operation, "summary": summary, "security": [], "responses": responses}


def _paths() -> Json:
    anything: Json = {"type": "object"}
    page: Json = {"description": "OK", "headers": SENT_HEADERS, "content": {"text/html": {"schema": {}}}}
    plain: Json = {"description": "OK", "headers": SENT_HEADERS, "content": {"text/plain": {"schema": {}}}}
    keyed = _errors("unauthorized", "rate_limited")
    return {
        "/v1/audio/transcriptions": {"post": _transcribe()},
        "/v1/events": {
            "post": {
                "operationId": "tell",
                "summary": "Tell what became of an answer: kinds and counts, never text.",
                "requestBody": {"required": True, "content": {"application/json": {"schema": _reference(ClientEvent)}}},
                "responses": {
                    "202": {"description": "Taken.", "headers": SENT_HEADERS},
                    **_errors("unauthorized", "rate_limited", "bad_request", "too_large", "deadline"),
                },
            }
        },
        "/v1/models": {
            "get": {
                "operationId": "models",
                "summary": "The families that are served, as OpenAI's clients list them.",
                "responses": {"200": _json("OK", anything), **keyed},
            }
        },
        "/": {"get": _open("page", "The live page: health, routes, traffic, canary.", {"200": page})},
        "/v1/live": {"get": _open("live", "The live page's figures.", {"200": _json("OK", _reference(LiveReport))})},
        "/v1/status": {"get": _open("status", "Route tables and workers.", {"200": _json("OK", anything)})},
        "/healthz": {"get": _open("healthy", "Whether the process answers.", {"200": _json("OK", anything)})},
        "/readyz": {
            "get": _open(
                "ready",
                "Whether every family answers.",
                {"200": _json("Every family answers.", anything), "503": _json("Some do not yet.", anything)},
            )
        },
        "/metrics": {"get": _open("metrics", "Prometheus' text exposition.", {"200": plain})},
        "/openapi.json": {"get": _open("openapi", "This document.", {"200": _json("OK", anything)})},
        "/asyncapi.json": {"get": _open("asyncapi", "The streaming API.", {"200": _json("OK", anything)})},
    }


def _info(title: str, objectives: Mapping[str, Objectives]) -> Json:
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


def openapi(objectives: Mapping[str, Objectives] | None = None) -> Json:
    """The HTTP side; `objectives` is what each family promises, where it is known."""
    key = {"type": "http", "scheme": "bearer", "description": "An API key of the installation (soundcheck keys)."}
    return {
        "openapi": "3.1.0",
        "info": _info("Soundcheck: transcription over HTTP", objectives or {}),
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": _paths(),
        "components": {"securitySchemes": {"key": key}, "schemas": _schemas(HTTP_MODELS)},
        "x-errors": {
            code: {"status": STATUS[code], "means": ERRORS[code], "retry_after": STATUS[code] in (429, 503)}
            for code in get_args(ErrorCode)
        },
    }


def _messages() -> Json:
    messages: Json = {
        name: {
            "contentType": "application/json",
            "summary": summary,
            "payload": {"schemaFormat": "application/schema+json;version=draft-2020-12", "schema": _reference(model)},
        }
        for name, (model, summary) in {**CLIENT_MESSAGES, **SERVER_MESSAGES}.items()
    }
    messages["audio"] = {
        "contentType": "audio/L16",
        "summary": (
            "A binary frame: little-endian signed 16-bit mono PCM at `start.sample_rate`, whole samples, at most "
            f"{MAX_FRAME_BYTES} bytes; frames of 100 ms (20 to 200 ms) give early partials at little cost."
        ),
        "payload": {"type": "string", "format": "binary"},
    }
    return messages


def _handshake() -> Json:
    read = {
        name: {"type": "string", **said.get("schema", {}), "description": said["description"]}
        for name, said in READ_HEADERS.items()
    }
    return {"Authorization": {"type": "string", "description": "Bearer KEY"}, **read}


def asyncapi(objectives: Mapping[str, Objectives] | None = None) -> Json:
    """The WebSocket side."""

    def sent(names: tuple[str, ...]) -> list[Json]:
        return [{"$ref": f"#/channels/stream/messages/{name}"} for name in names]

    models = tuple(model for model, _ in (*CLIENT_MESSAGES.values(), *SERVER_MESSAGES.values()))
    messages = _messages()
    return {
        "asyncapi": "3.0.0",
        "info": _info("Soundcheck: streaming transcription", objectives or {}),
        "defaultContentType": "application/json",
        "channels": {
            "stream": {
                "address": "/v1/audio/stream",
                "title": "One utterance, or several after barge-ins",
                "description": (
                    "Client: `start`, then `audio` and `control` until `end`. Server: `ready`, then `partial`s, and a "
                    "`restarted` after each barge-in, then one `final`, `cancelled` or `error`. What was dropped by a "
                    "barge-in is never in a later message; times are seconds of the stream's audio. After `end` only a "
                    "`cancel` is heard. A client that sends faster than the model hears is made to wait; one that does "
                    "not read, or sends nothing, is left after the deadline. Partials may be left out while the "
                    "service is degraded, a final never. A handshake is refused with the errors of the HTTP API."
                ),
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {
                    "ws": {
                        "method": "GET",
                        "query": _object({"model": {"type": "string", "description": "The family."}}, "model"),
                        "headers": _object(_handshake()),
                        "bindingVersion": "0.1.0",
                    }
                },
            }
        },
        "operations": {
            "hear": {
                "action": "receive",
                "channel": {"$ref": "#/channels/stream"},
                "summary": "What a client says.",
                "messages": sent((*CLIENT_MESSAGES, "audio")),
            },
            "answer": {
                "action": "send",
                "channel": {"$ref": "#/channels/stream"},
                "summary": "What the gateway says.",
                "messages": sent(tuple(SERVER_MESSAGES)),
            },
        },
        "components": {"messages": messages, "schemas": _schemas(models)},
        "x-errors": {code: {"status": STATUS[code], "means": ERRORS[code]} for code in get_args(ErrorCode)},
    }


def documents(objectives: Mapping[str, Objectives] | None = None) -> dict[str, bytes]:
    """Each document's name and bytes, as they are served and kept."""
    built = {"openapi.json": openapi(objectives), "asyncapi.json": asyncapi(objectives)}
    return {name: (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode() for name, value in built.items()}


def main(arguments: list[str]) -> None:
    """Write the documents."""
    folder = Path(arguments[0]) if arguments else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in documents().items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main(sys.argv[1:])
