"""Ingestion, index, retrieval, replies that quote, and whether they stand where they say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.errors import NotFound
from speech.assistant.documents import Chunker, Passage, Source, SourceDocument, TenantDocuments, ingest, sentences
from speech.assistant.grounding import grounded, supported
from speech.assistant.index import IndexedPassage, build_index, stale_documents
from speech.assistant.make import read_tenants
from speech.assistant.response import Draft, Quoting, Statement, asks_for_a_person
from speech.assistant.retrieval import Analyser, Retriever
from tests.speech.assistant_samples import UPDATED, documents_of

Text = st.lists(st.sampled_from(["One bus.", "Two trams!", "Is it late?", "Then wait"]), min_size=1, max_size=6).map(
    " ".join
)
Cutting = st.builds(Chunker, unit=st.sampled_from(["sentences", "words"]), size=st.integers(1, 5))


@given(text=Text, chunker=Cutting)
def test_passages_in_order_are_the_text_without_the_gaps(text: str, chunker: Chunker) -> None:
    pieces = [text[start:end] for start, end in chunker.spans(text)]
    assert " ".join(pieces).split() == text.split()


@given(text=Text, chunker=Cutting)
def test_an_index_of_its_own_documents_is_never_stale(text: str, chunker: Chunker) -> None:
    documents = ingest("bus", "Bus", (SourceDocument(id="a", updated_at=UPDATED, text=text),), chunker)
    assert stale_documents(build_index(documents, 1), documents) == ()


def changed(documents: TenantDocuments, **updates: object) -> TenantDocuments:
    first, *others = documents.documents
    return ingest(documents.tenant, documents.name, (first.model_copy(update=updates), *others), documents.chunker)


@pytest.mark.parametrize(
    ("present", "stale"),
    [
        (changed(documents_of("library"), text="The library opens at nine."), ("hours",)),
        (changed(documents_of("library"), updated_at=UPDATED + timedelta(days=1)), ("hours",)),
        (changed(documents_of("library"), id="times"), ("hours", "times")),
        (documents_of("library", size=2), ()),  # cut otherwise, and it says the same
    ],
    ids=["another text", "another time", "another document", "another cut"],
)
def test_documents_that_changed_since_the_index_was_made_are_named(
    present: TenantDocuments, stale: tuple[str, ...]
) -> None:
    assert stale_documents(build_index(documents_of("library"), 1), present) == stale


def test_an_index_is_as_old_as_its_newest_document() -> None:
    documents = changed(documents_of("library"), updated_at=UPDATED + timedelta(days=2))
    index = build_index(documents, 3)
    assert (index.version, index.watermark) == (3, UPDATED + timedelta(days=2))
    assert index.age_s(UPDATED + timedelta(days=2, seconds=90)) == 90
    assert index.age_s(datetime(2026, 10, 1, tzinfo=UTC)) == 0


@pytest.mark.parametrize(
    ("passages", "fault"),
    [
        ([("a", "hours", 0, 5), ("a", "hours", 5, 9)], "an id stands there twice"),
        ([("a", "hours", 0, 999)], "passage 'a' is not a span of a document"),
        ([("a", "nowhere", 0, 3)], "passage 'a' is not a span of a document"),
    ],
    ids=["an id twice", "past the end", "of no document"],
)
def test_passages_are_spans_of_documents(passages: list[tuple[str, str, int, int]], fault: str) -> None:
    whole = documents_of("library")
    cut = tuple(Passage(id=name, document=document, start=start, end=end) for name, document, start, end in passages)
    with pytest.raises(ValidationError, match=fault):
        TenantDocuments.model_validate({**whole.model_dump(), "passages": [one.model_dump() for one in cut]})


def test_a_passage_leads_to_its_document() -> None:
    documents = documents_of("library")
    assert documents.document_of("hours#1") == "hours"
    with pytest.raises(NotFound) as refused:
        documents.document_of("fares#0")
    assert refused.value.diagnostics() == ("there is no such passage\n  where: documents of library\n  got: fares#0")


PASSAGES = [
    IndexedPassage(id="hours#0", title="opening hours", text="The library opens at ten on Saturday."),
    IndexedPassage(id="cards#0", title="cards", text="A library card is free."),
    IndexedPassage(id="fees#0", title="fees", text="A lost book costs nine pounds."),
]


@pytest.mark.parametrize(
    ("question", "analyser", "first"),
    [
        ("When does it open on Saturday?", "words", "hours#0"),
        ("What is a card?", "words", "cards#0"),
        ("What about losing books?", "words", None),
        ("What about losing books?", "trigrams", "fees#0"),  # the stem is enough
        ("When thus it oben on satterday", "trigrams", "hours#0"),  # misheard
        ("the of and", "words", None),
        ("", "trigrams", None),
    ],
)
def test_questions_find_their_passage(question: str, analyser: Analyser, first: str | None) -> None:
    found = Retriever(PASSAGES, analyser).search(question, 2)
    assert (found[0].passage.id if found else None) == first
    assert len(found) <= 2
    assert all(0 < one.covered <= 1 for one in found)


@given(question=st.text(st.sampled_from("abcdeloprs "), max_size=30), limit=st.integers(1, 5))
def test_a_search_gives_the_best_first_and_never_too_many(question: str, limit: int) -> None:
    found = Retriever(PASSAGES, "trigrams").search(question, limit)
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)
    assert len(found) <= limit


def test_a_passage_covers_all_of_a_question_that_stands_in_it() -> None:
    retriever = Retriever(PASSAGES, "words")
    assert retriever.covered("library card", PASSAGES[1].text) == pytest.approx(1)
    assert retriever.covered("the of and", PASSAGES[1].text) == 0


def test_the_responder_that_ships_quotes_one_sentence_and_says_where_it_stands() -> None:
    passage = IndexedPassage(id="a#0", title="fares", text="A ticket costs two pounds. A pass costs sixty pounds.")
    retriever = Retriever([passage], "words")
    draft = Quoting(0.5).draft("What does a pass cost", retriever.search("pass sixty", 1), retriever)
    assert draft == Draft((Statement("A pass costs sixty pounds.", ("a#0",)),))


def test_what_covers_too_little_of_a_question_is_no_answer() -> None:
    retriever = Retriever(PASSAGES, "words")
    question = "Is the library near the football stadium"
    assert Quoting(0.9).draft(question, retriever.search(question, 3), retriever) is None
    assert Quoting(0.01).draft(question, retriever.search(question, 3), retriever) is not None
    assert Quoting(0.01).draft(question, [], retriever) is None


SOURCES = {"a#0": Source("fares", "A ticket costs two pounds. A pass costs sixty pounds."), "b#0": Source("b", "Free.")}


@pytest.mark.parametrize(
    ("text", "citations", "holds"),
    [
        ("A ticket costs two pounds.", ("a#0",), True),
        ("a ticket  costs TWO pounds", ("a#0",), True),
        ("A ticket costs two pounds.", ("b#0", "a#0"), True),
        ("A ticket costs two pounds.", ("b#0",), False),
        ("A ticket costs two pounds.", ("gone#7",), False),
        ("A ticket costs two pounds.", (), False),
        ("A ticket costs six pounds.", ("a#0",), False),
        ("ticket costs two pound", ("a#0",), False),  # words, not letters
        ("...", ("a#0",), False),
    ],
)
def test_a_statement_stands_in_a_passage_that_it_cites(text: str, citations: tuple[str, ...], holds: bool) -> None:
    assert supported(Statement(text, citations), SOURCES) == holds


def test_a_draft_is_grounded_when_all_of_it_is_and_there_is_something() -> None:
    good, bad = Statement("Free.", ("b#0",)), Statement("It costs a fortune.", ("b#0",))
    assert grounded(Draft((good,)), SOURCES)
    assert not grounded(Draft((good, bad)), SOURCES)
    assert not grounded(Draft(()), SOURCES)
    assert Draft((good, bad)).text == "Free. It costs a fortune."
    assert Draft((good, bad)).citations == ("b#0",)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("Can I talk to a human please", True),
        ("connect me to somebody", True),
        ("is a person there", False),
        ("when does it open", False),
    ],
)
def test_who_asks_for_a_person_is_understood(text: str, asked: bool) -> None:
    assert asks_for_a_person(text) == asked


def test_the_documents_that_ship_are_three_tenants_in_passages_of_two_sentences() -> None:
    tenants = read_tenants()
    assert [one.tenant for one in tenants] == ["clinic", "library", "transit"]
    for one in tenants:
        assert len(one.passages) >= len(one.documents) >= 7
        assert all(1 <= len(sentences(source.text)) <= 2 for source in one.sources().values())
