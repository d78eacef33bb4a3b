"""The verification query (B5): after a move, users' own way to each gateway is tried with a golden fixture.

Boundary: one HTTP request to each living gateway that follows the family, with an API key of this installation.
Invariants: it comes after every gateway has said that it serves the new table; it undoes nothing: what is wrong is told
to a person. What the fixture's text must be was proved before the move (operations/golden.py); here it matters who
answers.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from contracts.bundle import Golden
from contracts.digest import short
from contracts.errors import NotFound, SoundcheckError
from contracts.routing import RouteTable
from operations.context import Context
from operations.keys import ensure_api_key
from registry.bundle import load_manifest
from serving.presence import gateways

if TYPE_CHECKING:
    import httpx

API_KEY = "verification"
TIMEOUT_S = 5.0
KEY_S = 3.0
"""How long a gateway may take to learn of a key that was made just now."""


class Verification(NamedTuple):
    """How many gateways were asked, and what was wrong, in sentences."""

    asked: int = 0
    wrong: tuple[str, ...] = ()


def verify_served(context: Context, table: RouteTable) -> Verification:
    """Ask every living gateway that follows the table's family; nothing is asked where no fixture can be read."""
    urls = {pid: said["url"] for pid, said in gateways(context.home).items() if table.family in said["families"]}
    try:
        audio = _fixture(context, table) if urls else None
    except SoundcheckError as error:
        return Verification(0, (f"the verification query has nothing to ask with: {error.what}",))
    if audio is None:
        return Verification()
    import httpx

    key = ensure_api_key(context.home, API_KEY)
    with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client:
        found = {pid: _wrong(client, url, table, audio, key) for pid, url in urls.items()}
    return Verification(len(urls), tuple(f"gateway {pid}: {wrong}" for pid, wrong in found.items() if wrong))


def _fixture(context: Context, table: RouteTable) -> bytes | None:
    """The stable bundle's first golden audio that is still there (S5)."""
    assert table.stable is not None
    files = load_manifest(context.store, table.stable).files
    if "golden/golden.json" not in files:
        return None
    golden = Golden.parse(context.store.read_blob(files["golden/golden.json"].sha256), where="golden/golden.json")
    for fixture in golden.fixtures:
        try:
            return context.store.read_blob(files[f"golden/{fixture.audio}"].sha256)
        except NotFound:
            continue
    return None


def _wrong(client: httpx.Client, url: str, table: RouteTable, audio: bytes, key: str) -> str:
    """Why one gateway's answer is not that of the table, "" where it is."""
    import httpx

    from serving.client import ApiFailure, transcribe

    ends = time.monotonic() + KEY_S
    while True:
        try:
            heard = transcribe(url, audio, table.family, key, client=client)
            break
        except ApiFailure as refused:
            if refused.code != "unauthorized" or time.monotonic() > ends:
                return f"it refused the verification query with {refused.code}"
            time.sleep(0.1)
        except httpx.HTTPError as error:
            return f"it did not answer the verification query ({type(error).__name__})"
    degraded, cascade = table.degradation, table.cascade
    rightly = {table.stable, degraded.bundle if degraded else None, cascade.small if cascade else None}
    if heard.bundle not in rightly and heard.route_version == table.version:
        return f"bundle {short(heard.bundle)} answered under version {table.version}"
    if (heard.route_version or 0) < table.version:
        return f"version {heard.route_version} answered after it had reported version {table.version}"
    return ""
