"""Sanitized fixtures through the old and the new bundle: is it the model that answers differently?

Boundary: restores both through the verified cache; runs each model in a process of its own (operations/compute.py).
Invariants: only golden fixtures are played, which may be kept (R5); what is told is counts, no text; a fixture of both
bundles counts once.
Source: coverage 45.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from contracts.bundle import Golden, GoldenAnswer, GoldenFixture
from contracts.digest import Digest, digest_of, sha256_file, short
from contracts.incident import Replay
from operations import compute
from operations.context import Context
from operations.golden import compare, prompts, read_golden
from speech.kinds import Prompt

Answers = Mapping[Digest, GoldenAnswer]
"""What a bundle answers, by what it is asked."""


class _Played:
    """A bundle's folder, its fixtures, and what each of them asks, by the digest of that."""

    def __init__(self, folder: Path) -> None:
        self.payload = folder / "payload"
        self.golden = read_golden(folder)
        self.asked = {_named(prompt): prompt for prompt in prompts(self.golden, folder)}

    def declared_different(self, said: Answers) -> int:
        """Fixtures to which the bundle no longer says what it declared."""
        return len(compare(self.golden, [said[name] for name in self.asked]).different)


def replay(context: Context, *, old: Digest, new: Digest) -> Replay:
    """Let both bundles answer both bundles' golden fixtures and count where they differ.

    Texts differ by any word, vectors by more than the old bundle's own tolerance. Raises what `golden.prove` raises for
    a bundle that cannot be restored or run.
    """
    from evalpacks.metrics.words import word_edits
    from registry.bundle import cached

    before, after = (_Played(cached(context.store, bundle, context.home / "cache")) for bundle in (old, new))
    together = before.asked | after.asked
    was, now = (_answers(one.payload, bundle, together) for one, bundle in ((before, old), (after, new)))
    return Replay(
        old=old, new=new, fixtures=len(together), different=_different(was, now, before.golden.max_distance),
        word_edits=sum(word_edits(was[name].text, now[name].text) for name in together),
        words=sum(len(answer.text.split()) for answer in was.values()),
        old_declared_different=before.declared_different(was),
        new_declared_different=after.declared_different(now),
    )  # fmt: skip


def _named(prompt: Prompt) -> Digest:
    return digest_of([sha256_file(prompt.path) if prompt.path else "", prompt.text, prompt.tenant])


def _answers(payload: Path, bundle: Digest, asked: Mapping[Digest, Prompt]) -> Answers:
    with compute.naming(f"bundle {short(bundle)}"):
        return dict(zip(asked, compute.answers(payload, list(asked.values())), strict=True))


def _different(was: Answers, now: Answers, max_distance: float) -> int:
    """How many answers are not what they were."""
    fixtures = tuple(
        GoldenFixture(fixture_id=name, audio="", text=said.text, label=said.label, vector=said.vector)
        for name, said in was.items()
    )
    golden = Golden(max_word_edits=0, max_distance=max_distance, fixtures=fixtures)
    return len(compare(golden, [now[name] for name in was]).different)
