"""The verification query (B5): after a move, users' own way to each gateway is tried with a golden fixture.

Boundary: one request to each living gateway that follows the family, as the family's task is asked (serving/asking),
with an API key of this installation.
Invariants: it comes after every gateway has said that it serves the new table; it undoes nothing: what is wrong is told
to a person. What the fixture's answer must be was proved before the move (operations/golden.py); here it matters who
answers.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from contracts.bundle import Golden
from contracts.digest import short
from contracts.errors import NotFound, SoundcheckError
from contracts.policy import Task
from contracts.routing import RouteTable
from operations.context import Context
from operations.keys import ensure_api_key
from registry.bundle import load_manifest
from serving.presence import gateways

if TYPE_CHECKING:
    from speech.kinds import Prompt

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
    if not urls:
        return Verification()
    with tempfile.TemporaryDirectory(prefix="soundcheck-verification-") as folder:
        try:
            prompt = _prompt(context, table, Path(folder))
        except SoundcheckError as error:
            return Verification(0, (f"the verification query has nothing to ask with: {error.what}",))
        if prompt is None:
            return Verification()
        key = ensure_api_key(context.home, API_KEY)
        found = {pid: asyncio.run(_wrong(_task(context, table), url, table, prompt, key)) for pid, url in urls.items()}
    return Verification(len(urls), tuple(f"gateway {pid}: {wrong}" for pid, wrong in found.items() if wrong))


def _task(context: Context, table: RouteTable) -> Task:
    """What the family does; a policy that is wrong in anything else does not keep a rollback from being verified."""
    family = context.settings.params["families"].get(table.family, {})
    return cast(Task, family.get("task", "transcription"))


def _prompt(context: Context, table: RouteTable, folder: Path) -> Prompt | None:
    """The stable bundle's first golden fixture that is still there (S5), its audio below `folder`."""
    from speech.kinds import Prompt

    assert table.stable is not None
    files = load_manifest(context.store, table.stable).files
    if "golden/golden.json" not in files:
        return None
    golden = Golden.parse(context.store.read_blob(files["golden/golden.json"].sha256), where="golden/golden.json")
    for fixture in golden.fixtures:
        tenant = fixture.slices.get("tenant", "")
        if not fixture.audio:
            return Prompt(None, fixture.prompt, tenant)
        try:
            audio = context.store.read_blob(files[f"golden/{fixture.audio}"].sha256)
        except NotFound:
            continue
        path = folder / "fixture.wav"
        path.write_bytes(audio)
        return Prompt(path, fixture.prompt, tenant)
    return None


async def _wrong(task: Task, url: str, table: RouteTable, prompt: Prompt, key: str) -> str:
    """Why one gateway's answer is not that of the table, "" where it is."""
    import httpx

    from serving.asking import Door, asker
    from serving.client import ApiFailure

    ends = time.monotonic() + KEY_S
    async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client:
        while True:
            try:
                asked = asker(task).ask(Door(url, table.family, key), prompt, client=client)
                heard = await asyncio.wait_for(asked, TIMEOUT_S)
                break
            except ApiFailure as refused:
                if refused.code != "unauthorized" or time.monotonic() > ends:
                    return f"it refused the verification query with {refused.code}"
                await asyncio.sleep(0.1)
            except Exception as error:  # of whatever library: the pointer has moved, and a person is to be told
                return f"it did not answer the verification query ({type(error).__name__})"
    degraded, cascade = table.degradation, table.cascade
    rightly = {table.stable, degraded.bundle if degraded else None, cascade.small if cascade else None}
    if heard.bundle not in rightly and heard.route_version == table.version:
        return f"bundle {short(heard.bundle)} answered under version {table.version}"
    if (heard.route_version or 0) < table.version:
        return f"version {heard.route_version} answered after it had reported version {table.version}"
    return ""
