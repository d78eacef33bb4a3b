"""Sanitized fixtures through the old and the new bundle: is it the model that answers differently?

Boundary: restores both through the verified cache; runs each runtime in a process of its own (operations/compute.py).
Invariants: only golden fixtures are played, audio that may be kept (R5); what is told is counts, no text; a fixture of
both bundles counts once.
Source: coverage 45.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from contracts.bundle import GoldenAnswer, GoldenFixture
from contracts.digest import Digest, sha256_file, short
from contracts.incident import Replay
from operations import compute
from operations.context import Context
from operations.golden import compare, read_golden


class _Played(NamedTuple):
    fixture: GoldenFixture
    audio: Path


def replay(context: Context, *, old: Digest, new: Digest) -> Replay:
    """Let both bundles hear both bundles' golden fixtures and count where they differ.

    Raises what `golden.prove` raises for a bundle that cannot be restored or run.
    """
    from evalpacks.metrics.words import word_edits
    from registry.bundle import cached

    folders = {bundle: cached(context.store, bundle, context.home / "cache") for bundle in (old, new)}
    played = {bundle: _fixtures(folder) for bundle, folder in folders.items()}
    together = {sha256_file(one.audio): one for bundle in (old, new) for one in played[bundle]}
    heard = {bundle: _hear(folders[bundle], bundle, together) for bundle in (old, new)}
    edits = {name: word_edits(heard[old][name], heard[new][name]) for name in together}
    return Replay(
        old=old, new=new, fixtures=len(together), different=sum(count > 0 for count in edits.values()),
        word_edits=sum(edits.values()), words=sum(len(text.split()) for text in heard[old].values()),
        old_declared_different=_declared(folders[old], played[old], heard[old]),
        new_declared_different=_declared(folders[new], played[new], heard[new]),
    )  # fmt: skip


def _fixtures(folder: Path) -> list[_Played]:
    return [_Played(one, folder / "golden" / one.audio) for one in read_golden(folder).fixtures]


def _hear(folder: Path, bundle: Digest, fixtures: dict[Digest, _Played]) -> dict[Digest, str]:
    """What a bundle says to each fixture; they are laid side by side, because a runtime reads below one root."""
    import pandas as pd

    with tempfile.TemporaryDirectory(prefix="replay-", dir=folder.parent) as root:
        for name, one in fixtures.items():
            shutil.copyfile(one.audio, Path(root) / f"{name}.wav")
        rows = [{"utterance_id": name, "path": f"{name}.wav", "duration_s": 0.0} for name in fixtures]
        with compute.naming(f"bundle {short(bundle)}"):
            table = compute.hypotheses(folder / "payload", pd.DataFrame(rows), Path(root))
    return dict(zip(fixtures, map(str, table["text"]), strict=True))


def _declared(folder: Path, played: list[_Played], heard: dict[Digest, str]) -> int:
    """Fixtures to which a bundle no longer says what it declared."""
    return len(compare(read_golden(folder), [GoldenAnswer(heard[sha256_file(one.audio)]) for one in played]).different)
