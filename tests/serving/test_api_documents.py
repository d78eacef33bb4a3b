"""docs/api/*.json say what the gateway does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import httpx
import jsonschema
import pytest

from contracts import serving_api
from contracts.serving_api import API_VERSION, STATUS, ErrorCode, StreamStart
from serving.asyncapi import asyncapi
from serving.client import RunningGateway
from serving.objectives import Objectives
from serving.openapi import FOLDER, documents, main, openapi

Json = dict[str, Any]


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def follow(document: Json, reference: str) -> Any:
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part.replace("~1", "/").replace("~0", "~")]
    return found


def validator(document: Json, model: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{model}", **document})


@pytest.mark.parametrize("name", sorted(documents()))
def test_the_kept_documents_are_those_of_the_code(name: str) -> None:
    assert (FOLDER / name).read_bytes() == documents()[name], "write them anew: python -m serving.openapi"


def test_the_command_writes_them(tmp_path: Path) -> None:
    main([str(tmp_path / "api")])
    assert {path.name: path.read_bytes() for path in (tmp_path / "api").iterdir()} == documents()


def test_a_gateway_serves_them(pinned: RunningGateway) -> None:
    for name, content in documents({"tiny": Objectives(), "private": Objectives()}).items():
        answer = httpx.get(f"{pinned.base_url}/{name}")
        assert answer.content == content
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("document", [openapi(), asyncapi()], ids=["openapi", "asyncapi"])
def test_every_reference_leads_somewhere_and_every_schema_is_one(document: Json) -> None:
    found = set(references(document))
    assert found
    for reference in found:
        assert isinstance(follow(document, reference), dict)
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    assert document["info"]["version"] == API_VERSION


def test_every_route_of_the_gateway_is_documented(pinned: RunningGateway) -> None:
    paths = openapi()["paths"]
    source = (FOLDER.parents[1] / "serving" / "api.py").read_text()
    routes = dict(re.findall(r'\bRoute\("([^"]+)", .*methods=\["([A-Z]+)"\]\)', source))
    assert {path: [method.upper() for method in said] for path, said in paths.items()} == {
        path: [method] for path, method in routes.items()
    }
    sockets = set(re.findall(r'\bWebSocketRoute\("([^"]+)"', source))
    assert {channel["address"] for channel in asyncapi()["channels"].values()} == sockets
    for path, operations in paths.items():
        for method in operations:
            answer = httpx.request(method, f"{pinned.base_url}{path}", timeout=20)
            assert answer.status_code != 404, path
            assert answer.status_code != 405, path
            assert str(answer.status_code) in operations[method]["responses"], path


def test_every_error_code_says_its_status_and_when_to_ask_again() -> None:
    for document in (openapi(), asyncapi()):
        assert {code: said["status"] for code, said in document["x-errors"].items()} == STATUS
        assert all(said["means"] for said in document["x-errors"].values())
    responses = openapi()["paths"]["/v1/audio/transcriptions"]["post"]["responses"]
    assert set(responses) == {"200", *map(str, STATUS.values())}
    for status, response in responses.items():
        assert ("Retry-After" in response["headers"]) == (status in ("429", "503"))
    said = " ".join(response["description"] for response in responses.values())
    assert all(f"`{code}`" in said for code in get_args(ErrorCode))


def test_every_message_of_the_contract_is_in_the_streaming_document() -> None:
    document = asyncapi()
    messages = document["components"]["messages"].values()
    payloads = [message["payload"]["schema"]["$ref"] for message in messages if "schema" in message["payload"]]
    models = {follow(document, payload)["title"] for payload in payloads}
    named = [name for name in vars(serving_api) if name.startswith(("Stream", "Speech", "Assistant"))]
    assert models == {*named, "PartialResult", "FinalResult"} - {"SpeechRequest", "SpeechFormat"}
    said = [operation["messages"] for operation in document["operations"].values()]
    mentioned = {reference.rpartition("/")[2] for reference in references(said)}
    assert mentioned == set(document["components"]["messages"])


def test_a_client_can_check_messages_by_the_document() -> None:
    start = validator(asyncapi(), "StreamStart")
    start.validate(StreamStart(sample_rate=16_000).model_dump(mode="json"))
    start.validate({"sample_rate": 8_000, "what a later version adds": 1})
    with pytest.raises(jsonschema.ValidationError, match="'sample_rate' is a required property"):
        start.validate({"type": "start"})


def test_objectives_are_told_where_they_are_known() -> None:
    promised = {"asr": Objectives(latency_ms=400.0), "tts": Objectives()}
    for document in (openapi(promised), asyncapi(promised)):
        assert document["info"]["x-slo"] == {
            "asr": {"availability": 0.999, "latency_ms": 400.0, "latency_share": 0.95, "privacy_errors": 0},
            "tts": {"availability": 0.999, "privacy_errors": 0},
        }
    assert "x-slo" not in openapi()["info"]


def test_the_documents_hold_nothing_of_a_machine() -> None:
    for content in documents().values():
        assert b"/work" not in content
        assert b"/home" not in content
        assert json.loads(content)
