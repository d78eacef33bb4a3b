"""Hypotheses beside their references: every utterance once, in the order of the references; speakers as codes.

Boundary: pure.
Invariants: an utterance that a table repeats or lacks is an error that counts and names it, never a silent zero (R4.2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from contracts.errors import SoundcheckError
from evalpacks.statistics import Integers

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 10


def hypothesis_texts(
    utterance_ids: Sequence[str], table: pd.DataFrame, *, where: str, error: type[SoundcheckError], next_step: str
) -> list[str]:
    """The text of each utterance, in order; raises `error` naming the ids that the table repeats or lacks."""
    refuse_repeats(table["utterance_id"].tolist(), where=where, error=error)
    texts = dict(zip(map(str, table["utterance_id"].tolist()), table["text"].tolist(), strict=True))
    found: list[Any] = [texts.get(name) for name in utterance_ids]
    missing = [name for name, text in zip(utterance_ids, found, strict=True) if not isinstance(text, str)]
    if missing:
        raise error(
            f"{len(missing)} of {len(utterance_ids)} utterances have no hypothesis",
            where=where,
            got="missing: " + named(missing),
            expected="one hypothesis for every utterance",
            next_step=next_step,
        )
    return found


def refuse_repeats(utterance_ids: Sequence[str], *, where: str, error: type[SoundcheckError]) -> None:
    """Raise `error` where an id occurs twice."""
    if len(set(utterance_ids)) < len(utterance_ids):
        repeated = sorted(str(name) for name, times in Counter(utterance_ids).items() if times > 1)
        raise error(
            f"{len(repeated)} utterance id{' occurs' if len(repeated) == 1 else 's occur'} more than once",
            where=where,
            got=named(repeated),
            expected="one row an utterance",
        )


def speaker_codes(speakers: Sequence[str]) -> Integers:
    """Speakers as 0, 1, ... in sorted order of their names, shape (utterances,)."""
    import pandas as pd

    return pd.factorize(np.asarray(speakers, dtype=object), sort=True)[0].astype(np.int64)


def named(ids: Sequence[str]) -> str:
    """The first ids, and how many more there are."""
    return ", ".join(ids[:_SHOWN]) + (f", and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else "")
