"""Does what is said stand where the citation points?

Boundary: pure.
Invariants: the documents decide, never the index that was quoted; a statement without a citation is not grounded; case,
punctuation and spacing do not count, every word and its order do.
Source: attributable statements (Rashkin et al. 2023, "Measuring Attribution in Natural Language Generation Models"), in
the strict form that a reply that quotes can be held to. A model that rewords needs a judge of entailment in its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from speech.assistant.documents import Source
from speech.assistant.response import Draft, Statement

_WORD = re.compile(r"\w+")


def supported(statement: Statement, sources: Mapping[str, Source]) -> bool:
    """Whether the statement is a run of the words of a passage that it cites."""
    said = _words(statement.text)
    return bool(said.strip()) and any(
        said in _words(sources[name].text) for name in statement.citations if name in sources
    )


def grounded(draft: Draft, sources: Mapping[str, Source]) -> bool:
    """Whether every statement is supported, and there is one."""
    return bool(draft.statements) and all(supported(statement, sources) for statement in draft.statements)


def _words(text: str) -> str:
    return f" {' '.join(_WORD.findall(text.casefold()))} "
