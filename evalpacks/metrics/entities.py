"""Entity errors: names, amounts and numbers that were not heard exactly, and those that nobody said.

Boundary: pure; the pack's column `entities` and the aligned words in, counts per utterance out.
Invariants: an entity is heard where each of its words is aligned to an equal word and nothing is inserted inside. A
mention in the hypothesis is false unless the same words are aligned to it without a gap; a false mention that stands in
the stretch of errors of a missed entity is that entity heard as another and counts once. An utterance without an
entity still brings its false ones, over a denominator of 0.
Source: the slot error rate of Makhoul et al. 1999, "Performance Measures for Information Extraction": substitutions,
deletions and insertions of slots over reference slots.
Mentions in a hypothesis are found by a tagger that knows the entities of the whole pack and English numbers.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from contracts.errors import Refused
from evalpacks.metrics.alignment import Column, align
from evalpacks.metrics.metric import Counts, Evidence, Metric
from evalpacks.normalize import normalize

NUMBER = "number"
"""Type of a run of number words that is no entity of the pack."""

NUMBER_WORDS = frozenset({
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty", "thirty", "forty",
    "fifty", "sixty", "seventy", "eighty", "ninety", "hundred", "thousand", "million", "billion",
})  # fmt: skip


class Mention(NamedTuple):
    """An entity among the words of a text: its type, its first word and the one after its last."""

    kind: str
    start: int
    end: int


class EntityErrors(NamedTuple):
    """One utterance: types of the reference's entities, of those missed, of false ones; words of entities, unheard."""

    entities: tuple[str, ...]
    missed: tuple[str, ...]
    false: tuple[str, ...]
    words: int
    unheard_words: int


class TypeErrors(NamedTuple):
    """Entities of one type over a pack: in the references, missed, false."""

    entities: int
    missed: int
    false: int


class Tagger:
    """Finds entities in a text: the longest known phrase or run of number words at each place, from the left."""

    def __init__(self, known: Iterable[tuple[str, tuple[str, ...]]]) -> None:
        self._known: dict[str, dict[tuple[str, ...], str]] = {}
        for kind, words in sorted(known):
            self._known.setdefault(words[0], {}).setdefault(words, kind)

    def mentions(self, words: Sequence[str]) -> list[Mention]:
        """Mentions in order, without overlap."""
        found: list[Mention] = []
        place = 0
        while place < len(words):
            mention = self._longest(words, place)
            if mention is not None:
                found.append(mention)
            place = place + 1 if mention is None else mention.end
        return found

    def _longest(self, words: Sequence[str], start: int) -> Mention | None:
        end = start
        while end < len(words) and _is_number(words[end]):
            end += 1
        longest = Mention(NUMBER, start, end) if end > start else None
        for phrase, kind in self._known.get(words[start], {}).items():
            reached = start + len(phrase)
            if reached >= end and tuple(words[start:reached]) == phrase:
                longest, end = Mention(kind, start, reached), reached
        return longest


def _is_number(word: str) -> bool:
    return word in NUMBER_WORDS or any(character.isdigit() for character in word)


def entity_errors(evidence: Evidence) -> list[EntityErrors] | None:
    """Entities, missed and false ones of each utterance; None where the pack has no column `entities`.

    Raises Refused where the column is malformed or names what the utterance does not say.
    """
    if "entities" not in evidence.utterances.columns:
        return None
    table = evidence.utterances
    said = [text.split() for text in evidence.references]
    mentions = [
        _located(utterance_id, text, entities, words, evidence.normalizer)
        for utterance_id, text, entities, words in zip(
            table["utterance_id"], table["text"], table["entities"], said, strict=True
        )
    ]
    tagger = Tagger(
        {
            (mention.kind, tuple(words[mention.start : mention.end]))
            for found, words in zip(mentions, said, strict=True)
            for mention in found
        }
    )
    return [
        _errors(words, heard.split(), found, tagger)
        for words, heard, found in zip(said, evidence.hypotheses, mentions, strict=True)
    ]


def errors_by_type(errors: Sequence[EntityErrors]) -> dict[str, TypeErrors]:
    """The entities of each type over a pack, by name of the type."""
    entities = Counter(kind for one in errors for kind in one.entities)
    missed = Counter(kind for one in errors for kind in one.missed)
    false = Counter(kind for one in errors for kind in one.false)
    return {kind: TypeErrors(entities[kind], missed[kind], false[kind]) for kind in sorted({*entities, *false})}


def _errors(words: list[str], heard: list[str], mentions: list[Mention], tagger: Tagger) -> EntityErrors:
    entities = tuple(mention.kind for mention in mentions)
    places = {place for mention in mentions for place in range(mention.start, mention.end)}
    if words == heard:
        return EntityErrors(entities, (), (), len(places), 0)
    columns = align(words, heard)
    said_at = {column.reference: place for place, column in enumerate(columns)}
    heard_at = {column.hypothesis: place for place, column in enumerate(columns)}
    missed = [mention for mention in mentions if not _exact(columns, said_at, mention)]
    wrong = [mention for mention in tagger.mentions(heard) if not _exact(columns, heard_at, mention)]
    stretches = [_stretch(columns, said_at[mention.start], said_at[mention.end - 1]) for mention in missed]
    false = []
    for mention in wrong:
        first, last = heard_at[mention.start], heard_at[mention.end - 1]
        instead_of = next((stretch for stretch in stretches if first < stretch.stop and last >= stretch.start), None)
        if instead_of is None:
            false.append(mention.kind)
        else:
            stretches.remove(instead_of)
    unheard = sum(not columns[said_at[place]].equal for place in places)
    return EntityErrors(entities, tuple(mention.kind for mention in missed), tuple(false), len(places), unheard)


def _exact(columns: list[Column], places: dict[int | None, int], mention: Mention) -> bool:
    return all(column.equal for column in columns[places[mention.start] : places[mention.end - 1] + 1])


def _stretch(columns: list[Column], first: int, last: int) -> range:
    """The columns of an entity and the errors that touch it."""
    while first > 0 and not columns[first - 1].equal:
        first -= 1
    while last < len(columns) - 1 and not columns[last + 1].equal:
        last += 1
    return range(first, last + 1)


def _located(utterance_id: str, text: str, entities: object, words: list[str], normalizer: str) -> list[Mention]:
    """The entities of one utterance among its normalised words.

    What stands before and after an entity is normalised alone; the words that these two do not account for are the
    entity's. So an entity that the normaliser joins with its neighbour ("five" and "dollars" to "$5") takes it in.
    """
    mentions: list[Mention] = []
    reached = 0
    for entity in _parsed(utterance_id, entities):
        start = _find(text, entity["text"], reached)
        if start < 0:
            raise _refused(utterance_id, "an entity that is not in the text, or not in this order")
        reached = start + len(entity["text"])
        before = _shared(normalize(text[:start], normalizer).split(), words)
        after = _shared(normalize(text[reached:], normalizer).split()[::-1], words[::-1])
        if before >= len(words) - after:
            raise _refused(utterance_id, f"an entity that is nothing to the normaliser {normalizer}")
        mentions.append(Mention(entity["type"], before, len(words) - after))
    return mentions


def _find(text: str, part: str, start: int) -> int:
    """Where `part` begins, whole words before parts of words ("four" is the end of "fourteen four"); -1 for nowhere."""
    whole = re.compile(rf"(?<!\w){re.escape(part)}(?!\w)").search(text, start)
    return whole.start() if whole else text.find(part, start)


def _shared(part: list[str], words: list[str]) -> int:
    shared = 0
    while shared < min(len(part), len(words)) and part[shared] == words[shared]:
        shared += 1
    return shared


def _parsed(utterance_id: str, entities: object) -> list[dict[str, str]]:
    if not isinstance(entities, str) or not entities:
        return []
    try:
        listed = json.loads(entities)
        return [{"type": str(one["type"]), "text": str(one["text"])} for one in listed]
    except (ValueError, KeyError, TypeError):
        raise _refused(utterance_id, "entities that do not parse") from None


def _refused(utterance_id: str, what: str) -> Refused:
    return Refused(
        f"an utterance of the pack has {what}",
        where="utterances.parquet: entities",
        got=str(utterance_id),
        expected='[{"type": ..., "text": ...}] in order, each text a part of the utterance\'s text',
        next_step="correct the pack",
    )


def _measure(evidence: Evidence) -> Counts | None:
    errors = entity_errors(evidence)
    if errors is None:
        return None
    wrong = [len(one.missed) + len(one.false) for one in errors]
    return Counts(np.array(wrong, np.float64), np.array([len(one.entities) for one in errors], np.float64))


ENTITY_ERROR_RATE = Metric("entity_error_rate", "entity errors", "lower", _measure, 100.0, "%", " points", "entities")
