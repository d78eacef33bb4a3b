"""The errors of Soundcheck: each says what, where, got, expected and the next step.

Purpose: one base class that every room raises, so that the command line, the flows and the API can print the same
clear lines and choose an exit status without knowing the room.
Boundary: no I/O.
Invariants: a message never holds private content (audio, transcripts, keys); an error raised here means that nothing
has changed.
"""

from __future__ import annotations


class SoundcheckError(Exception):
    """A failure a person can act on.

    Args:
        what: the failure in one sentence, without a final full stop.
        where: the file, field, family or address it concerns.
        got: what was found.
        expected: what is right.
        next_step: the command or edit that helps.
    """

    exit_status = 1

    def __init__(self, what: str, *, where: str = "", got: str = "", expected: str = "", next_step: str = "") -> None:
        self.what = what
        self.where = where
        self.got = got
        self.expected = expected
        self.next_step = next_step
        super().__init__(self.diagnostics())

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the fields when the error crosses a process border."""
        return _rebuild, (type(self), self.what, self.where, self.got, self.expected, self.next_step)

    def diagnostics(self) -> str:
        """The whole error as one short paragraph, one labelled line a field that has a value."""
        lines = [self.what]
        for label, text in (
            ("where", self.where),
            ("got", self.got),
            ("expected", self.expected),
            ("next step", self.next_step),
        ):
            if text:
                lines.append(f"  {label}: {text}")
        return "\n".join(lines)


def _rebuild(
    kind: type[SoundcheckError], what: str, where: str, got: str, expected: str, next_step: str
) -> SoundcheckError:
    return kind(what, where=where, got=got, expected=expected, next_step=next_step)


class Refused(SoundcheckError):
    """The call was understood and is not allowed: a gate, a contract or a policy says no (exit status 1)."""

    exit_status = 1


class WrongCall(SoundcheckError):
    """The caller gave something that does not exist or does not parse (exit status 2)."""

    exit_status = 2


class DependencyFailed(SoundcheckError):
    """Something outside (a server, a disk, a package) did not do its part (exit status 3)."""

    exit_status = 3


class Corrupt(Refused):
    """Stored bytes are not what their digest or chain says (clauses B3, S1, S2)."""


class NotFound(WrongCall):
    """A key, blob, bundle or family is not in the store."""


class AlreadyExists(Refused):
    """A create-once key is taken by other bytes."""


class Conflict(Refused):
    """A compare-and-set lost: somebody else moved first; the message names the current version."""
