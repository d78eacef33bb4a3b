"""Who visits: sessions of users, their devices and networks, and what they do; all of it drawn from a seed.

Boundary: no network; utterances of a pack in, sessions out.
Invariants: the same seed, utterances and habits give the same sessions in the same order, whatever else is set.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from contracts.errors import WrongCall
from contracts.telemetry import PROBE_LABELS
from speech.kinds import Prompt

if TYPE_CHECKING:
    import pandas

TENANTS = ("internal", "acme", "globex")
DEVICES = ("phone", "desktop", "speaker")
CODECS: Mapping[str, tuple[str, ...]] = {"phone": ("opus", "amr-wb")}
"""What a device sends with; any other sends `pcm`."""
LONGEST_SESSION = 5

EventKind = Literal["correction", "interruption", "abandonment", "underrun", "support_ticket"]
Plant = Literal["silence", "wrong_rate"]
PLANTS: tuple[Plant, ...] = ("silence", "wrong_rate")
"""Faults of clients: a dead microphone sends silence; a wrong build resamples to 12 kHz and says so."""


class Utterance(NamedTuple):
    """One labelled utterance of a pack, a recording or a text to say; `row` is all that the pack says of it."""

    path: Path
    text: str
    labels: dict[str, str]
    row: Mapping[str, Any] = {}

    @property
    def prompt(self) -> Prompt:
        """What a model of any task is asked."""
        return Prompt(self.path, self.text, str(self.row.get("tenant", "")))


@dataclass(frozen=True)
class Habits:
    """What users and their networks do; shares in [0, 1], of utterances where nothing else is said.

    Attributes:
        stream: share sent over a WebSocket.
        leave: share of streams whose client is gone before the end.
        events: share of answers after which the client tells this.
        delay_ms: mean lateness of a frame on a phone's network, exponential; frames never overtake, so that a late one
            brings a burst. Other devices have a tenth of it.
        retries: how often a request that was refused for load is made again.
        plants: share of phone sessions with this fault.
    """

    stream: float = 0.3
    leave: float = 0.0
    events: Mapping[EventKind, float] = field(default_factory=dict)
    delay_ms: float = 0.0
    retries: int = 0
    plants: Mapping[Plant, float] = field(default_factory=dict)
    tenants: Sequence[str] = TENANTS
    devices: Sequence[str] = DEVICES
    languages: Sequence[str] = ()


class Turn(NamedTuple):
    """One utterance of a session: how it is sent, where its client leaves (a share of it, None: never), what follows.

    `noise` seeds what the network does to its frames.
    """

    utterance: Utterance
    as_stream: bool
    leaves_at: float | None
    events: tuple[EventKind, ...]
    noise: int


class Session(NamedTuple):
    """A user's visit: some utterances one after another."""

    session_id: str
    tenant: str
    device: str
    language: str
    codec: str
    plants: tuple[Plant, ...]
    turns: tuple[Turn, ...]


def utterances_of(table: pandas.DataFrame, root: Path, labels: Sequence[str] = PROBE_LABELS) -> list[Utterance]:
    """The recordings of a pack's table (columns path, text and slice columns), with those labels it has."""
    present = [label for label in labels if label in table.columns]
    if not len(table):
        raise WrongCall("there is nothing to play", where=str(root), expected="a pack with utterances")
    return [
        _utterance(root, {str(name): value for name, value in row.items()}, present) for row in table.to_dict("records")
    ]


def _utterance(root: Path, row: Mapping[str, Any], labels: Sequence[str]) -> Utterance:
    return Utterance(root / str(row["path"]), str(row["text"]), {label: str(row[label]) for label in labels}, row)


def sessions(utterances: Sequence[Utterance], *, seed: int, habits: Habits) -> Iterator[Session]:
    """Sessions without end, one to five utterances each."""
    generator = random.Random(seed)
    while True:
        # A generator of its own, so that a habit that draws more changes no later session.
        yield _session(utterances, random.Random(generator.getrandbits(64)), habits)


def _session(utterances: Sequence[Utterance], draw: random.Random, habits: Habits) -> Session:
    device = draw.choice(habits.devices)
    return Session(
        session_id=f"{draw.getrandbits(64):016x}",
        tenant=draw.choice(habits.tenants),
        device=device,
        language=draw.choice(habits.languages) if habits.languages else "",
        codec=draw.choice(CODECS.get(device, ("pcm",))),
        plants=tuple(plant for plant in PLANTS if _happens(draw, habits.plants.get(plant)) and device == "phone"),
        turns=tuple(_turn(utterances, draw, habits) for _ in range(draw.randint(1, LONGEST_SESSION))),
    )


def _turn(utterances: Sequence[Utterance], draw: random.Random, habits: Habits) -> Turn:
    as_stream, leaves, where = _happens(draw, habits.stream), _happens(draw, habits.leave), draw.random()
    return Turn(
        utterance=draw.choice(utterances),
        as_stream=as_stream,
        leaves_at=where if as_stream and leaves else None,
        events=tuple(kind for kind, share in sorted(habits.events.items()) if _happens(draw, share)),
        noise=draw.getrandbits(32),
    )


def _happens(draw: random.Random, share: float | None) -> bool:
    return draw.random() < (share or 0.0)


def lateness_s(turn: Turn, session: Session, habits: Habits) -> Iterator[float]:
    """How late each frame of a turn comes, in seconds."""
    mean_ms = habits.delay_ms if session.device == "phone" else habits.delay_ms / 10
    draw = random.Random(turn.noise)
    while True:
        yield draw.expovariate(1000 / mean_ms) if mean_ms else 0.0


def habits_of(**given: Any) -> Habits:
    """Habits from options; WrongCall for a share that is none and for a fault or event that is not known."""
    shares = {"stream": given.get("stream", 0.0), "leave": given.get("leave", 0.0)}
    shares |= {**given.get("events", {}), **given.get("plants", {})}
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise WrongCall("a share is not between 0 and 1", where=name, got=f"{share:g}", next_step="give 0 to 1")
    unheard = [name for name in given.get("events", {}) if name not in get_args(EventKind)]
    if unheard:
        raise WrongCall("clients tell no such event", got=unheard[0], expected=" or ".join(get_args(EventKind)))
    unknown = [name for name in given.get("plants", {}) if name not in PLANTS]
    if unknown:
        raise WrongCall(
            "this fault cannot be planted in clients", got=unknown[0], expected=" or ".join(PLANTS),
            next_step="faults of the server are planted with serve --plant FILE (docs/drills.md)",
        )  # fmt: skip
    return Habits(**given)
