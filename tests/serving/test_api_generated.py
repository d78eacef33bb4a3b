"""Requests that Schemathesis makes from the OpenAPI document: none is answered 500, all as the document says.

SOUNDCHECK_API_EXAMPLES is how many requests each operation gets (default 150).
"""

from __future__ import annotations

import os
import random
from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serving.client import RunningGateway
from serving.openapi import openapi
from tests.serving.conftest import Home, silence, wav

EXAMPLES = int(os.environ.get("SOUNDCHECK_API_EXAMPLES", "150"))
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
AUDIO = wav(silence(0.6))

schema = schemathesis.openapi.from_dict(openapi())

MODELS = {
    "/v1/audio/transcriptions": "tiny",
    "/v1/audio/embeddings": "embedding",
    "/v1/audio/classifications": "classification",
    "/v1/audio/speech": "synthesis",
}
"""What answers on a route."""
ALIKE = [path for path in MODELS if path != "/v1/audio/transcriptions"]
"""Routes that read what they are sent as the transcriptions do, or one JSON object: a fifth of the requests."""


def likely(case: schemathesis.Case[Any]) -> None:
    """Half of the requests name a family that is served, and half of the forms hold audio, whole or cut off."""
    chosen = random.Random(repr(case.body))
    body: Any = case.body
    if isinstance(body, dict) and chosen.random() < 0.5:
        body["model"] = MODELS[case.path]
        if "speech" not in case.path and chosen.random() < 0.5:
            body["file"] = AUDIO[: chosen.choice((len(AUDIO), 10, 44, 1_000))]


def status_of(case: schemathesis.Case[Any], gateway: RunningGateway, home: Home) -> int:
    """Ask, and compare the answer with the document; its status."""
    if case.path in MODELS:
        likely(case)
    response = case.call(base_url=gateway.base_url, headers={"Authorization": f"Bearer {home.key}"})
    case.validate_response(response, checks=CHECKS)
    assert len(response.headers["x-request-id"][0]) == 32
    return response.status_code


RULES = settings(deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))


@schema.exclude(path=ALIKE).parametrize()
@settings(RULES, max_examples=EXAMPLES)
def test_no_generated_request_is_answered_500(case: schemathesis.Case[Any], pinned: RunningGateway, home: Home) -> None:
    assert status_of(case, pinned, home) != 500


@schema.include(path=ALIKE).parametrize()
@settings(RULES, max_examples=EXAMPLES // 5)
def test_nor_is_one_of_another_task(case: schemathesis.Case[Any], tasks: RunningGateway, home: Home) -> None:
    assert status_of(case, tasks, home) != 500
