"""The drill-down: errors by class for each slice, and which word was heard as which."""

from __future__ import annotations

import numpy as np

from contracts.reports import Confusion, EditClasses
from evalpacks.metrics.classes import confusions, edit_classes
from tests.evalpacks.metrics.evidence_samples import make_evidence

PAIRS = [
    ("call anna", "call hanna"),  # one substitution, in a short utterance and of an entity
    ("stop", "stop it"),  # one insertion, short
    ("turn on the light", "turn the night"),  # one deletion, one substitution
    ("turn on the light", "turn on the night"),
]
ENTITIES = [[("name", "anna")], [], [], [("thing", "light")]]


def test_errors_are_counted_by_class_and_slice() -> None:
    masks = {"overall": np.ones(4, bool), "length=long": np.array([False, False, True, True])}
    assert edit_classes(make_evidence(PAIRS, entities=ENTITIES), masks) == {
        "overall": EditClasses(substitutions=3, deletions=1, insertions=1, short=2, entity=2, entity_words=2),
        "length=long": EditClasses(substitutions=2, deletions=1, insertions=0, short=0, entity=1, entity_words=1),
    }


def test_a_pack_without_entities_cannot_say() -> None:
    (classes,) = edit_classes(make_evidence(PAIRS), {"overall": np.ones(4, bool)}).values()
    assert (classes.entity, classes.entity_words, classes.short) == (None, None, 2)


def test_confusions_are_the_most_frequent_first_and_ties_in_order_of_words() -> None:
    evidence = make_evidence([("the sea", "a sea"), *PAIRS])
    assert confusions(evidence) == (
        Confusion(reference="light", hypothesis="night", count=2),
        Confusion(reference="anna", hypothesis="hanna", count=1),
        Confusion(reference="the", hypothesis="a", count=1),
    )
    assert confusions(evidence, top=1) == (Confusion(reference="light", hypothesis="night", count=2),)
    assert confusions(make_evidence([("stop", "stop")])) == ()


def test_confusions_are_all_substitutions() -> None:
    evidence = make_evidence(PAIRS)
    assert sum(pair.count for pair in confusions(evidence)) == evidence.words.substitutions.sum()
