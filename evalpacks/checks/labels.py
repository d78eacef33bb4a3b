"""What a pack says about its texts beside the words: entities, intents, the end of speech.

Boundary: pure; a table in, findings out.
Invariants: an entity is a part of its utterance's text, and entities come in the order of the text; an utterance
without entities is no fault. Intents are read as the metric reads them (evalpacks/metrics/intents.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evalpacks.checks.findings import Finding, finding, grouped
from evalpacks.metrics.intents import Intents
from evalpacks.normalize import normalize_all

if TYPE_CHECKING:
    import pandas as pd


def findings(table: pd.DataFrame, intents: Mapping[str, str], normalizers: Sequence[str]) -> list[Finding]:
    """What is wrong with the optional columns and the intents of a pack.

    Args:
        table: of a pack.
        intents: of its card.
        normalizers: names of those that score the pack; intents are matched after each.
    """
    names = [str(name) for name in table["utterance_id"]]
    found: list[tuple[str, str]] = []
    if "entities" in table.columns:
        pairs = zip(names, table["entities"].fillna(""), table["text"], strict=True)
        found += [(name, code) for name, value, text in pairs if value for code in _entity_faults(value, text)]
    if "speech_end_s" in table.columns:
        ends = zip(names, table["speech_end_s"], table["duration_s"], strict=True)
        found += [(name, "speech_end") for name, end_s, duration_s in ends if not _within(end_s, duration_s)]
    return grouped(found) + (_intent_findings(names, list(table["text"]), intents, normalizers) if intents else [])


def _entity_faults(value: object, text: str) -> Iterator[str]:
    try:
        entities = json.loads(value) if isinstance(value, str) else None
    except ValueError:
        entities = None
    if not isinstance(entities, list) or not all(map(_is_entity, entities)):
        yield "malformed_entities"
        return
    start = 0
    for entity in entities:
        place = text.find(entity["text"], start)
        if place < 0:
            yield "entity_not_in_text"
            return
        start = place + len(entity["text"])


def _is_entity(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(key), str) and value[key].strip() for key in ("type", "text")
    )


def _within(end_s: object, duration_s: float) -> bool:
    return isinstance(end_s, float) and 0 < end_s <= duration_s


def _intent_findings(
    names: Sequence[str], texts: Sequence[str], patterns: Mapping[str, str], normalizers: Sequence[str]
) -> list[Finding]:
    intents = Intents(patterns)
    found: dict[tuple[str, str], None] = {}
    used: set[str] = set()
    for normalizer in normalizers:
        for name, text in zip(names, normalize_all(texts, normalizer), strict=True):
            meaning = intents.meaning(text)
            used.update(intent for intent, _ in meaning)
            if len(meaning) != 1:
                found[name, "two_intents" if meaning else "no_intent"] = None
    idle = [intent for intent in patterns if intent not in used]
    return grouped(found) + ([finding("idle_intent", idle)] if idle else [])
