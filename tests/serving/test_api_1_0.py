"""Clients of API 1.0 are answered as before: what they sent is sent again (tests/fixtures/api-1.0, R6.4)."""

from __future__ import annotations

import asyncio
import base64
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import httpx
import jsonschema
import pytest
from websockets.exceptions import ConnectionClosed

from contracts import serving_api
from contracts.serving_api import STATUS, ErrorCode
from contracts.telemetry import ClientEvent
from serving.client import RunningGateway, open_stream
from tests.serving.conftest import Home

KEPT = Path(__file__).parents[1] / "fixtures" / "api-1.0"
Json = dict[str, Any]

EXCHANGES: list[Json] = json.loads((KEPT / "http.json").read_bytes())
STREAMS: list[Json] = json.loads((KEPT / "streams.json").read_bytes())
SCHEMAS: Json = json.loads((KEPT / "schemas.json").read_bytes())
ANOTHER_EACH_TIME = ("bundle", "request_id", "message", "route_version")
"""Names of what ran, and words for people: they are there, and may be others."""


def unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


def differences(old: Any, new: Any, where: str = "answer") -> Iterator[str]:
    """What an old client would miss: a field that is gone, or that says something else."""
    if isinstance(old, dict):
        if not isinstance(new, dict):
            yield f"{where}: no object any more"
            return
        for name, value in old.items():
            if name not in new:
                yield f"{where}.{name} is gone"
            elif name in ANOTHER_EACH_TIME:
                if type(value) is not type(new[name]):
                    yield f"{where}.{name} is of another type"
            else:
                yield from differences(value, new[name], f"{where}.{name}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from differences(before, after, f"{where}[{index}]")
    elif old != new:
        yield f"{where}: {new!r} instead of {old!r}"


def test_differences_are_found() -> None:
    old = {"text": "a", "words": [{"word": "a"}], "bundle": "b"}
    assert not list(differences(old, {"text": "a", "words": [{"word": "a", "more": 1}], "bundle": "c", "new": 1}))
    assert list(differences(old, {"text": "b", "words": [{}], "bundle": 1})) == [
        "answer.text: 'b' instead of 'a'",
        "answer.words[0].word is gone",
        "answer.bundle is of another type",
    ]


@pytest.mark.parametrize("number", range(len(EXCHANGES)))
def test_a_request_of_1_0_is_answered_as_then(pinned: RunningGateway, home: Home, number: int) -> None:
    kept = EXCHANGES[number]
    headers = dict(kept["headers"])
    if kept["authorized"]:
        headers["Authorization"] = f"Bearer {home.key}"
    url = f"{pinned.base_url}{kept['path']}"
    answer = httpx.request(kept["method"], url, headers=headers, content=unpacked(kept["body"]), timeout=20)
    assert answer.status_code == kept["status"]
    assert set(kept["answer_headers"]) <= set(answer.headers)
    if kept["answer"].startswith("{"):
        assert not list(differences(json.loads(kept["answer"]), answer.json()))
    else:
        assert answer.text == kept["answer"]


def validate(model: str, message: Json) -> None:
    """Check a message as a client of 1.0 reads it: it ignores fields that it does not know."""
    schema = SCHEMAS["models"][model]
    for part in (schema, *schema.get("$defs", {}).values()):
        part.pop("additionalProperties", None)
    jsonschema.Draft202012Validator(schema).validate(message)


@pytest.mark.parametrize("number", range(len(STREAMS)))
def test_a_stream_of_1_0_is_answered_as_then(pinned: RunningGateway, home: Home, number: int) -> None:
    kept = STREAMS[number]

    async def replay() -> tuple[list[Json], int | None]:
        received: list[Json] = []
        async with open_stream(pinned.base_url, kept["model"], home.key) as websocket:
            for message in kept["sent"]:
                await websocket.send(message if isinstance(message, str) else unpacked(message["bytes"]))
            try:
                async for said in websocket:
                    received.append(json.loads(said))
            except ConnectionClosed:
                pass
            return received, websocket.close_code

    received, code = asyncio.run(asyncio.wait_for(replay(), 20))
    assert code == kept["close_code"]
    partials = [message for message in received if message["type"] == "partial"]
    for partial in partials:
        validate("PartialResult", partial)
    # How many partials come depends on how fast the machine is; all else is as it was.
    old = [message for message in kept["received"] if message["type"] != "partial"]
    new = [message for message in received if message["type"] != "partial"]
    assert not list(differences(old, new))
    assert bool(partials) == any(message["type"] == "partial" for message in kept["received"])


def models() -> Json:
    found = {name: getattr(serving_api, name) for name in SCHEMAS["models"] if name != "ClientEvent"}
    return {name: model.model_json_schema() for name, model in {**found, "ClientEvent": ClientEvent}.items()}


def narrowed(old: Json, new: Json, where: str) -> Iterator[str]:
    """Why a document that the old schema describes may not be one of the new."""
    yield from (f"{where}.{name} is gone" for name in old.get("properties", {}) if name not in new["properties"])
    yield from (
        f"{where}.{name} became required" for name in new.get("required", []) if name not in old.get("required", [])
    )
    for name, before in old.get("properties", {}).items():
        after = new["properties"].get(name, {})
        if lost := set(_choices(before)) - set(_choices(after)) if _choices(after) else set():
            yield f"{where}.{name} no longer takes {sorted(map(str, lost))}"
        for bound in ("type", "pattern", "minimum", "maximum", "default", "$ref", "items", "anyOf"):
            if before.get(bound) != after.get(bound) and not _choices(before):
                yield f"{where}.{name}: {bound} is {after.get(bound)!r}, was {before.get(bound)!r}"


def _choices(schema: Json) -> list[Any]:
    return [schema["const"]] if "const" in schema else list(schema.get("enum", []))


@pytest.mark.parametrize("name", sorted(SCHEMAS["models"]))
def test_law_fields_and_choices_are_only_added(name: str) -> None:
    assert not list(narrowed(SCHEMAS["models"][name], models()[name], name))


def test_law_error_codes_keep_their_status() -> None:
    assert SCHEMAS["version"] == "1.0"
    assert set(SCHEMAS["status"].items()) <= set(STATUS.items())
    assert set(get_args(ErrorCode)) == set(STATUS)


def test_what_the_law_would_find() -> None:
    old = {"properties": {"kind": {"enum": ["a", "b"]}, "n": {"type": "integer"}, "m": {}}, "required": ["n"]}
    new = {"properties": {"kind": {"enum": ["a", "c"]}, "n": {"type": "string"}, "k": {}}, "required": ["n", "k"]}
    assert list(narrowed(old, new, "Model")) == [
        "Model.m is gone",
        "Model.k became required",
        "Model.kind no longer takes ['b']",
        "Model.n: type is 'string', was 'integer'",
    ]
