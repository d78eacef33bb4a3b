"""The production API as documents: OpenAPI 3.1 of what goes over HTTP; serving/asyncapi.py has the WebSockets.

    python -m serving.openapi [FOLDER]      writes openapi.json and asyncapi.json (default: docs/api)

Boundary: pure but for `main`; the schemas come from the models of contracts/serving_api.py, which the gateway itself
uses, the words around them stand here and in serving/documented.py. Source: coverage row 3;
https://spec.openapis.org/oas/v3.1.0.
Invariants: equal contracts give equal bytes; tests/serving/test_api_documents.py holds the kept copies to them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from pydantic import BaseModel

from contracts import serving_api as api
from contracts.live import LiveReport
from contracts.serving_api import STATUS, ErrorCode
from contracts.telemetry import ClientEvent
from serving.answers import FORMATS
from serving.asyncapi import asyncapi
from serving.documented import (
    AUDIO,
    ERRORS,
    READ_HEADERS,
    REDACTION,
    ROUTED_HEADERS,
    ROUTING,
    SENT_HEADERS,
    Json,
    an_object,
    info_of,
    reference,
    schemas_of,
)  # fmt: skip
from serving.encoding import MEDIA_TYPES
from serving.objectives import Objectives

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "api"

HTTP_MODELS: tuple[type[BaseModel], ...] = (
    api.Transcription, api.Embedding, api.Classification, api.SpeechRequest, api.ApiError, ClientEvent, LiveReport,
)  # fmt: skip


def _error(status: int) -> Json:
    codes = [code for code in get_args(ErrorCode) if STATUS[code] == status]
    headers = dict(SENT_HEADERS)
    if status in (429, 503):
        headers["Retry-After"] = {
            "description": "Seconds after which asking again is of use.",
            "schema": {"type": "integer", "minimum": 1},
        }
    error = an_object({"error": reference(api.ApiError)}, "error")
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


TEXT: Json = {"type": "string"}
SAMPLE_RATE: dict[str, Json] = {"X-Soundcheck-Sample-Rate": {"description": "Hz of the audio.", "schema": {}}}


def _asked(operation: str, summary: str, body: Json, answered: Json) -> Json:
    """A request that a model answers."""
    return {
        "operationId": operation,
        "summary": summary,
        "description": ROUTING,
        "parameters": [
            {"name": name, "in": "header", "schema": {"type": "string"}, **said} for name, said in READ_HEADERS.items()
        ],
        "requestBody": {"required": True, "content": body},
        "responses": {
            "200": {"headers": {**SENT_HEADERS, **ROUTED_HEADERS}, **answered},
            **_errors(
                "unauthorized", "unknown_model", "bad_request", "too_large", "overloaded", "no_stable", "deadline"
            ),
        },
    }


def _form(**more: Json) -> Json:
    """The body of an upload."""
    file = {**TEXT, "contentMediaType": "application/octet-stream", "description": f"WAV, FLAC or Ogg. {AUDIO}"}
    properties = {"file": file, "model": {**TEXT, "description": "The family."}, **more}
    return {"multipart/form-data": {"schema": an_object(properties, "file", "model")}}


def _transcribe() -> Json:
    form = _form(
        language={**TEXT, "description": "BCP 47; one that the model was not released for is refused."},
        response_format={**TEXT, "enum": list(FORMATS), "default": "json"},
        **{"timestamp_granularities[]": {"type": "array", "items": {**TEXT, "enum": ["word", "segment"]}}},
        prompt={**TEXT, "description": "Accepted for OpenAI's clients, not used."},
        temperature={**TEXT, "description": "Accepted for OpenAI's clients, not used."},
    )
    text_alone = an_object({"text": TEXT}, "text")
    content = {
        "application/json": {"schema": {"anyOf": [reference(api.Transcription), text_alone]}},
        "text/plain": {"schema": TEXT},
    }
    answered = {"description": f"The transcript. {REDACTION}", "content": content}
    return _asked("transcribe", "Transcribe a file, as OpenAI's clients ask it.", form, answered)


def _heard(operation: str, summary: str, model: type[BaseModel]) -> Json:
    answered = {"description": "The answer.", "content": {"application/json": {"schema": reference(model)}}}
    return _asked(operation, summary, _form(), answered)


def _speak() -> Json:
    content = {media: {"schema": {**TEXT, "contentMediaType": media}} for media in sorted(set(MEDIA_TYPES.values()))}
    answered: Json = {
        "description": (
            "The audio, sent sentence by sentence while it is made. `pcm` is little-endian 16-bit mono at the rate "
            "that X-Soundcheck-Sample-Rate says. A streamed `wav` does not say its length; `flac` does, and is sent "
            "when all of it is made. A connection that is closed before the end of the body broke off: not all was "
            "said."
        ),
        "headers": {**SENT_HEADERS, **ROUTED_HEADERS, **SAMPLE_RATE},
        "content": content,
    }
    body = {"application/json": {"schema": reference(api.SpeechRequest)}}
    return _asked("speak", "Say a text, as OpenAI's clients ask it.", body, answered)


def _open(operation: str, summary: str, responses: Json) -> Json:
    return {"operationId": operation, "summary": summary, "security": [], "responses": responses}


def _paths() -> Json:
    anything: Json = {"type": "object"}
    page: Json = {"description": "OK", "headers": SENT_HEADERS, "content": {"text/html": {"schema": {}}}}
    plain: Json = {"description": "OK", "headers": SENT_HEADERS, "content": {"text/plain": {"schema": {}}}}
    keyed = _errors("unauthorized", "rate_limited")
    return {
        "/v1/audio/transcriptions": {"post": _transcribe()},
        "/v1/audio/embeddings": {"post": _heard("embed", "The vector of a recording.", api.Embedding)},
        "/v1/audio/classifications": {"post": _heard("classify", "The class of a recording.", api.Classification)},
        "/v1/audio/speech": {"post": _speak()},
        "/v1/events": {
            "post": {
                "operationId": "tell",
                "summary": "Tell what became of an answer: kinds and counts, never text.",
                "requestBody": {"required": True, "content": {"application/json": {"schema": reference(ClientEvent)}}},
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
        "/v1/live": {"get": _open("live", "The live page's figures.", {"200": _json("OK", reference(LiveReport))})},
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


def openapi(objectives: Mapping[str, Objectives] | None = None) -> Json:
    """The HTTP side; `objectives` is what each family promises, where it is known."""
    key = {"type": "http", "scheme": "bearer", "description": "An API key of the installation (soundcheck keys)."}
    return {
        "openapi": "3.1.0",
        "info": info_of("Soundcheck: speech over HTTP", objectives or {}),
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": _paths(),
        "components": {"securitySchemes": {"key": key}, "schemas": schemas_of(HTTP_MODELS)},
        "x-errors": {
            code: {"status": STATUS[code], "means": ERRORS[code], "retry_after": STATUS[code] in (429, 503)}
            for code in get_args(ErrorCode)
        },
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
