"""A release from capture to its staged replay, without Prefect: what the flow does until users are concerned.

    python tests/families/staged.py FAMILY VERSION

A version whose replay passes is made stable, as the canary and a person would. Exit status 1: it stopped.
"""

from __future__ import annotations

import sys

from contracts.errors import SoundcheckError
from flows.wiring import open_context
from operations import pointer, shards
from operations.capture import capture
from operations.gate import gate
from operations.package import package
from operations.register import register
from operations.score import score
from operations.stage import stage


def release(family: str, version: str) -> None:
    """The steps; raises Stopped at the one that is not passed."""
    context = open_context()
    captured = capture(context, family, version)
    registered = register(context, family, captured)
    scored = score(context, family, captured, shards.here(context.settings))
    gated = gate(context, family, captured, scored)
    packaged = package(context, family, captured, registered, scored, gated)
    stage(context, family, captured, packaged)
    seen = pointer.current(context, family)
    bundle = packaged["bundle"]
    table = pointer.move(context, family, seen, stable=bundle, actor="tests", reason="staged")
    context.ledger(family).append(
        "promote", "complete", at=context.timestamp(), release=captured["release"],
        outputs={"bundle": bundle, "route_table": table.digest()}, data={"version": version, "kind": "promote"},
    )  # fmt: skip


if __name__ == "__main__":
    try:
        release(*sys.argv[1:])
    except SoundcheckError as error:
        sys.exit(error.diagnostics())
