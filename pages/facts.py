"""JSON objects as tables of labelled values.

Boundary: no I/O. Source: pages.md (contract table, rollback packet).
Invariants: every field of an object is shown, also one that this version does not know.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pages.figures import plain


class Fact(NamedTuple):
    """A labelled value of a table; `digest` values are drawn short and copy whole."""

    label: str
    text: str
    digest: bool = False


def flat(value: dict[str, Any], path: str = "") -> tuple[Fact, ...]:
    """A JSON object as labelled values, nested names joined."""
    facts: list[Fact] = []
    for name, below in value.items():
        label = f"{path}{plain(name).replace('_', ' ')}"
        if isinstance(below, dict):
            facts += flat(below, f"{label}, ")
        elif isinstance(below, list | tuple) and below and all(isinstance(one, dict) for one in below):
            facts += [_entry(label, one) for one in below]
        elif isinstance(below, list | tuple):
            facts.append(Fact(label, ", ".join(plain(one) for one in below) or "none"))
        else:
            said = "none" if below is None else ("yes" if below else "no") if isinstance(below, bool) else below
            facts.append(Fact(label, plain(said), is_digest(said)))
    return tuple(facts)


def _entry(label: str, fields: dict[str, Any]) -> Fact:
    """One object of a list on one line: named by its first field, the others said after it."""
    (_, name), *rest = fields.items()
    return Fact(
        f"{label}, {plain(name)}", ", ".join(f"{plain(key).replace('_', ' ')} {plain(one)}" for key, one in rest)
    )


def is_digest(value: object) -> bool:
    """Whether a value is a whole SHA-256, or a git commit, that is drawn short."""
    return isinstance(value, str) and len(value) in (40, 64) and not set(value) - set("0123456789abcdef")
