"""Entity errors: heard exactly or missed, and what the hypothesis made up."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import Refused
from evalpacks.metrics import METRICS, Evidence
from evalpacks.metrics.alignment import align
from evalpacks.metrics.entities import (
    NUMBER_WORDS,
    EntityErrors,
    Mention,
    Tagger,
    TypeErrors,
    entity_errors,
    errors_by_type,
)
from tests.evalpacks.metrics.evidence_samples import counted, make_evidence

KNOWN = (("name", "anna"), ("name", "john smith"), ("street", "baker street"))
PACK = [(" ".join(text for _, text in KNOWN), "", KNOWN)]
"""One more utterance, so that the pack knows these entities."""


def judged(reference: str, hypothesis: str, *entities: tuple[str, str], normalizer: str = "none") -> EntityErrors:
    pairs = [(reference, hypothesis), (PACK[0][0], PACK[0][0])]
    errors = entity_errors(make_evidence(pairs, entities=[entities, KNOWN], normalizer=normalizer))
    assert errors is not None
    assert errors[1] == EntityErrors(("name", "name", "street"), (), (), 5, 0)
    return errors[0]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "entities", "missed", "false"),
    [
        ("call anna", "call anna", [("name", "anna")], 0, 0),
        ("call anna", "tall anna", [("name", "anna")], 0, 0),  # an error outside
        ("call anna", "call hanna", [("name", "anna")], 1, 0),  # an unknown word is no entity
        ("call anna", "call", [("name", "anna")], 1, 0),
        ("call anna", "", [("name", "anna")], 1, 0),
        ("call john smith", "call john smyth", [("name", "john smith")], 1, 0),
        ("call john smith", "call john the smith", [("name", "john smith")], 1, 0),  # a word inside
        ("call john smith", "call the john smith", [("name", "john smith")], 0, 0),  # a word beside
        ("call for me", "call four me", [], 0, 1),  # nobody said a number
        ("call four", "call four", [], 0, 0),  # said, though the pack does not call it an entity
        ("call me", "call anna", [], 0, 1),
        ("call me", "call me anna", [], 0, 1),
        ("call me", "call me anna baker street", [], 0, 2),
        ("call me", "call me baker", [], 0, 0),  # a part of an entity is none
        ("call anna", "call john smith", [("name", "anna")], 1, 0),  # heard as another: once
        ("call anna", "call john smith baker street", [("name", "anna")], 1, 1),  # and one more
        ("call anna", "call five", [("name", "anna")], 1, 0),
        ("call anna please", "call five uh please", [("name", "anna")], 1, 0),  # five stands before what anna became
        ("anna the", "two", [("name", "anna")], 1, 0),  # and here after it
        ("anna calls me", "five calls two me", [("name", "anna")], 1, 1),  # a word heard right parts the errors
        ("call anna now", "call anna five", [("name", "anna")], 0, 1),  # the name is right, the number is made up
        ("room twenty", "room twenty five", [("number", "twenty")], 0, 1),  # not the same number
        ("room twenty five", "room twenty", [("number", "twenty five")], 1, 0),
        (
            "anna calls john smith",
            "john smith calls anna",
            [("name", "anna"), ("name", "john smith")],
            1,
            1,
        ),  # out of order
        ("room 12", "room 13", [("number", "12")], 1, 0),
    ],
)
def test_named_utterances(
    reference: str, hypothesis: str, entities: list[tuple[str, str]], missed: int, false: int
) -> None:
    errors = judged(reference, hypothesis, *entities)
    assert (len(errors.missed), len(errors.false)) == (missed, false)


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("john smith", [("name", 0, 2)]),  # the longest
        ("john", [("title", 0, 1)]),
        ("nine", [("time", 0, 1)]),  # the pack's own type goes before a mere number
        ("nine five", [("number", 0, 2)]),
        ("john nine smith", [("title", 0, 1), ("time", 1, 2)]),
        ("at 7th street", [("number", 1, 2)]),
    ],
)
def test_the_tagger_takes_the_longest_mention(text: str, mentions: list[Mention]) -> None:
    known = [("name", ("john", "smith")), ("title", ("john",)), ("time", ("nine",))]
    assert Tagger(known).mentions(text.split()) == mentions


def test_counts_are_errors_over_reference_entities() -> None:
    pairs = [("call anna", "call"), ("go on", "go two"), ("call anna", "call anna")]
    evidence = make_evidence(pairs, entities=[[("name", "anna")], [], [("name", "anna")]])
    assert counted(METRICS["entity_error_rate"].measure(evidence)) == [(1, 1), (1, 0), (0, 1)]


def test_errors_are_counted_by_type() -> None:
    pairs = [("call anna at nine", "call hanna at nine"), ("go on", "go two"), ("baker street", "baker street")]
    entities = [[("name", "anna"), ("time", "nine")], [], [("street", "baker street")]]
    errors = entity_errors(make_evidence(pairs, entities=entities))
    assert errors is not None
    assert errors_by_type(errors) == {
        "name": TypeErrors(1, 1, 0),
        "number": TypeErrors(0, 0, 1),
        "street": TypeErrors(1, 0, 0),
        "time": TypeErrors(1, 0, 0),
    }


@pytest.mark.parametrize(
    ("normalizer", "hypothesis", "missed"),
    [
        ("english", "Pay $25 to John Smith.", 0),
        ("english", "pay twenty five dollars to jon smith", 1),
        ("english", "pay twenty six dollars to john smith", 1),
        ("basic", "Pay twenty-five dollars to John Smith!", 0),
        ("basic", "Pay $25 to John Smith.", 1),  # this normaliser does not read numbers
    ],
)
def test_entities_are_those_of_the_normalised_text(normalizer: str, hypothesis: str, missed: int) -> None:
    reference = "Pay twenty-five dollars to John Smith."
    entities = [("amount", "twenty-five dollars"), ("name", "John Smith")]
    errors = judged(reference, hypothesis, *entities, normalizer=normalizer)
    assert (len(errors.missed), len(errors.false)) == (missed, 0)


def test_entities_that_the_normaliser_joins_share_a_word() -> None:
    # "two, thirty" becomes "230": both are heard or both are missed, and the word counts once
    entities = [("number", "two"), ("number", "thirty")]
    wrong = judged("room two, thirty people", "room two forty people", *entities, normalizer="english")
    assert (wrong.missed, wrong.words, wrong.unheard_words) == (("number", "number"), 1, 1)
    assert judged("room two, thirty people", "room 230 people", *entities, normalizer="english").missed == ()


def test_an_entity_is_whole_words_where_it_can_be() -> None:
    assert judged("room fourteen four", "room fourteen for", ("number", "four")).missed == ("number",)
    assert judged("room fourteen four", "room forty four", ("number", "four")).missed == ()
    assert judged("\u6253\u7ed9\u5b89\u5a1c", "\u6253\u7ed9", ("name", "\u5b89\u5a1c")).missed == ("name",)  # no spaces


@pytest.mark.parametrize(
    ("entities", "what"),
    [
        ([("name", "ben")], "an entity that is not in the text, or not in this order"),
        ([("name", "smith"), ("name", "anna")], "an entity that is not in the text, or not in this order"),
        ([("noise", "...")], "an entity that is nothing to the normaliser basic"),
    ],
)
def test_entities_that_cannot_be_found_are_refused(entities: list[tuple[str, str]], what: str) -> None:
    evidence = make_evidence([("call ... anna smith", "")], entities=[entities], normalizer="basic")
    with pytest.raises(Refused) as caught:
        entity_errors(evidence)
    assert str(caught.value) == (
        f"an utterance of the pack has {what}\n"
        "  where: utterances.parquet: entities\n"
        "  got: u0\n"
        '  expected: [{"type": ..., "text": ...}] in order, each text a part of the utterance\'s text\n'
        "  next step: correct the pack"
    )


@pytest.mark.parametrize("value", ["nonsense", '{"type": "name"}', '[{"type": "name"}]', "[1]"])
def test_a_malformed_column_is_refused(value: str) -> None:
    evidence = make_evidence([("call anna", "call anna")], entities=[[]])
    evidence.utterances["entities"] = value
    with pytest.raises(Refused, match=r"an utterance of the pack has entities that do not parse\n.*\n  got: u0\n"):
        entity_errors(evidence)


@pytest.mark.parametrize("value", [None, "", "[]"])
def test_an_utterance_may_have_no_entities(value: str | None) -> None:
    evidence = make_evidence([("call me", "call anna")], entities=[[]])
    evidence.utterances["entities"] = [value]
    assert entity_errors(evidence) == [EntityErrors((), (), (), 0, 0)]


Words = st.lists(st.sampled_from(["call", "the", "anna", "ben", "carl", "two", "six"]), max_size=7)
NAMES = {"anna", "ben", "carl"}


@st.composite
def utterances(draw: st.DrawFn) -> Evidence:
    """Texts whose entities are the single words of NAMES."""
    said, heard = draw(Words), draw(Words)
    pairs = [(" ".join(said), " ".join(heard)), ("anna ben carl", "anna ben carl")]
    return make_evidence(
        pairs, entities=[[("name", word) for word in text.split() if word in NAMES] for text, _ in pairs]
    )


def oracle(evidence: Evidence) -> tuple[int, int]:
    """(missed, false before a missed one takes any), each mention compared with the other side's words beside it."""
    said, heard = evidence.references[0].split(), evidence.hypotheses[0].split()
    columns = align(said, heard)

    def other_side(words: range, *, of_hypothesis: bool) -> list[str]:
        own = [column.hypothesis if of_hypothesis else column.reference for column in columns]
        between = columns[own.index(words.start) : own.index(words.stop - 1) + 1]
        if of_hypothesis:
            return [said[column.reference] for column in between if column.reference is not None]
        return [heard[column.hypothesis] for column in between if column.hypothesis is not None]

    names = [range(place, place + 1) for place, word in enumerate(said) if word in NAMES]
    mentions = [range(place, place + 1) for place, word in enumerate(heard) if word in NAMES]
    numbers = [place for place, word in enumerate(heard) if word in NUMBER_WORDS]
    starts = [place for place in numbers if place - 1 not in numbers]
    mentions += [range(start, next(p for p in range(start, 9) if p not in numbers)) for start in starts]
    missed = sum(other_side(one, of_hypothesis=False) != [said[place] for place in one] for one in names)
    false = sum(other_side(one, of_hypothesis=True) != [heard[place] for place in one] for one in mentions)
    return missed, false


@given(evidence=utterances())
@settings(deadline=None, max_examples=200)
def test_errors_equal_the_oracle(evidence: Evidence) -> None:
    errors = entity_errors(evidence)
    assert errors is not None
    missed, wrong = oracle(evidence)
    assert len(errors[0].missed) == missed
    assert max(0, wrong - missed) <= len(errors[0].false) <= wrong


@given(evidence=utterances())
@settings(deadline=None, max_examples=50)
def test_a_hypothesis_without_known_words_misses_all_and_makes_up_nothing(evidence: Evidence) -> None:
    count = len(evidence.references[0].split())
    pairs = [(evidence.references[0], " ".join(["mumble"] * count)), ("anna", "anna")]
    entities = [[("name", word) for word in text.split() if word in NAMES] for text, _ in pairs]
    errors = entity_errors(make_evidence(pairs, entities=entities))
    assert errors is not None
    assert errors[0].missed == errors[0].entities
    assert errors[0].false == ()
    assert errors[0].unheard_words == errors[0].words
