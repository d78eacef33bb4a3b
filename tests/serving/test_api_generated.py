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


def likely(case: schemathesis.Case[Any]) -> None:
    """Half of the forms name a family that is served, and half of these hold audio, whole or cut off."""
    chosen = random.Random(repr(case.body))
    form: Any = case.body
    if isinstance(form, dict) and chosen.random() < 0.5:
        form["model"] = "tiny"
        if chosen.random() < 0.5:
            form["file"] = AUDIO[: chosen.choice((len(AUDIO), 10, 44, 1_000))]


@schema.parametrize()
@settings(
    max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
def test_no_generated_request_is_answered_500(case: schemathesis.Case[Any], pinned: RunningGateway, home: Home) -> None:
    if case.path == "/v1/audio/transcriptions":
        likely(case)
    headers = {"Authorization": f"Bearer {home.key}"}
    response = case.call(base_url=pinned.base_url, headers=headers)
    assert response.status_code != 500, response.text
    case.validate_response(response, checks=CHECKS)
    assert len(response.headers["x-request-id"][0]) == 32
