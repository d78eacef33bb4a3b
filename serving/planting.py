"""Planted faults: what a drill makes a running gateway do wrong, to see that the right thing happens about it.

Boundary: between a call and its worker; reads one file, which may come, change and go while the gateway runs.
Invariants: nothing is planted without the option `--plant FILE`, which no setting of params.yaml can give; a gateway
that others can reach, or whose store others share, refuses it; a file that does not read plants nothing new and is
said in the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import math
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, cast

import numpy as np
import yaml
from pydantic import NonNegativeFloat, TypeAdapter, ValidationError

from contracts.document import Part
from contracts.errors import WrongCall
from contracts.policy import Share
from contracts.routing import bucket
from serving.frames import Priority
from serving.link import Answer, Heard, Hearing, LinkStream, Said
from serving.pool import Speech, Worker
from speech.runtimes import Samples

log = logging.getLogger(__name__)

LOOK_S = 0.1
"""Between two looks at the file."""

Counted = TypeVar("Counted", Heard, Answer)

Kind = Literal["latency", "first_partial", "churn", "errors", "twice", "crash", "nan"]


class Fault(Part):
    """What goes wrong, and for whom: requests with all these labels, heard by bundles whose digest begins so.

    `latency`: each file, and each text to be said, waits `ms` for its worker. `first_partial`: a stream's first words
    come `ms` later. `churn`: a partial's last word is shown wrong first. `errors`: every other word of an answer is
    wrong. `twice`: whatever is heard is heard once more, at full cost. `crash`: the worker is killed, as the kernel
    does when memory is short. `nan`: the worker says that its work took NaN milliseconds. `share` is the share of
    requests.
    """

    kind: Kind
    bundle: str = ""
    labels: dict[str, str] = {}
    share: Share = 1.0
    ms: NonNegativeFloat = 0.0

    def hits(self, bundle: str, labels: Mapping[str, str], request_id: str) -> bool:
        """Whether a request is struck."""
        fits = bundle.startswith(self.bundle) and all(labels.get(name) == value for name, value in self.labels.items())
        return fits and bucket(request_id, self.kind) < self.share


_FAULTS = TypeAdapter(tuple[Fault, ...])


def parse(text: str) -> tuple[Fault, ...]:
    """The faults of a YAML list; WrongCall for what is none."""
    try:
        return _FAULTS.validate_python(yaml.safe_load(text) or ())
    except yaml.YAMLError:
        raise WrongCall("planted faults do not parse", expected="a YAML list of faults") from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise WrongCall("a planted fault is not valid", where=where, got=first["msg"], next_step="correct it") from None


def refuse_production(host: str, store_url: str) -> None:
    """WrongCall where more than this machine would suffer."""
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback and store_url.startswith("file://"):
            return
    raise WrongCall(
        "faults are not planted in production",
        where="--plant",
        got=f"{host}, store {store_url.split('://', maxsplit=1)[0]}://",
        expected="a gateway on the loopback over a store of this machine (file://)",
        next_step="run the drill on a gateway of its own (docs/drills.md)",
    )


class Planting:
    """The faults that a file names now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = 0
        self.faults: tuple[Fault, ...] = ()

    async def watch(self) -> None:
        """Follow the file for ever."""
        log.warning("faults may be planted from %s", self._path.name)
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        """Read the file if it changed."""
        try:
            changed = self._path.stat().st_mtime_ns
            if changed == self._seen:
                return
            self._seen = changed
            self.faults = parse(self._path.read_text())
        except FileNotFoundError:
            self._seen, self.faults = 0, ()
        except (OSError, WrongCall) as error:
            log.error("planted faults cannot be read: %s", error)
            return
        log.warning("planted: %s", ", ".join(fault.kind for fault in self.faults) or "nothing")

    def strike(self, worker: Worker, labels: Mapping[str, str], request_id: str) -> Worker:
        """The worker as this request meets it."""
        faults = [fault for fault in self.faults if fault.hits(worker.digest, labels, request_id)]
        return cast(Worker, _StruckWorker(worker, faults)) if faults else worker


class _StruckWorker:
    """A worker with faults; what is not said here is its own."""

    def __init__(self, worker: Worker, faults: Sequence[Fault]) -> None:
        self._worker = worker
        self._faults = {fault.kind: fault for fault in faults}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._worker, name)

    async def hear(
        self, operation: Hearing, samples: Samples, *, deadline_s: float, priority: Priority = "interactive"
    ) -> Answer:
        await self._suffer()
        answer = await self._worker.hear(operation, samples, deadline_s=deadline_s, priority=priority)
        if "twice" in self._faults:
            again = await self._worker.hear(operation, samples, deadline_s=deadline_s, priority=priority)
            answer = answer._replace(infer_ms=answer.infer_ms + again.infer_ms)
        return changed(answer, self._faults)

    async def transcribe(self, samples: Samples, *, deadline_s: float, priority: Priority = "interactive") -> Answer:
        return await self.hear("transcribe", samples, deadline_s=deadline_s, priority=priority)

    @contextlib.asynccontextmanager
    async def speak(self, text: str, *, deadline_s: float, priority: Priority = "interactive") -> AsyncIterator[Speech]:
        await self._suffer()
        async with self._worker.speak(text, deadline_s=deadline_s, priority=priority) as speech:
            yield speech

    async def _suffer(self) -> None:
        if "crash" in self._faults:
            self._kill()
        if latency := self._faults.get("latency"):
            await asyncio.sleep(latency.ms / 1000)

    async def stream(self, *, deadline_s: float, priority: Priority = "interactive", tenant: str = "") -> _StruckStream:
        if "crash" in self._faults:
            self._kill()
        stream = await self._worker.stream(deadline_s=deadline_s, priority=priority, tenant=tenant)
        return _StruckStream(stream, self._worker, self._faults, deadline_s)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, KeyError):
            os.kill(self._worker.facts["pid"], signal.SIGKILL)


class _StruckStream:
    """A stream with faults."""

    def __init__(self, stream: LinkStream, worker: Worker, faults: Mapping[Kind, Fault], deadline_s: float) -> None:
        self._stream = stream
        self._worker = worker
        self._faults = faults
        self._deadline_s = deadline_s
        self._heard: list[Samples] = []
        self._shows_at: float | None = None
        self._wrong = True

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stream.__aexit__(*error)

    async def feed(self, samples: Samples) -> None:
        if "twice" in self._faults:
            self._heard.append(samples)
        await self._stream.feed(samples)

    def end(self) -> None:
        self._stream.end()

    def restart(self) -> None:
        self._heard.clear()
        self._stream.restart()

    async def next(self) -> Said:
        said = await self._stream.next()
        if isinstance(said, Heard):
            return changed(await self._partial(said), self._faults)
        if isinstance(said, Answer):
            return changed(await self._final(said), self._faults)
        return said

    async def _partial(self, said: Heard) -> Heard:
        text = said.text
        if text and (late := self._faults.get("first_partial")):
            now = asyncio.get_running_loop().time()
            self._shows_at = self._shows_at or now + late.ms / 1000
            await asyncio.sleep(max(self._shows_at - now, 0))
        words = (text or "").split()
        if "churn" in self._faults and len(words) > said.committed:
            # Every other time, so that what was shown is taken back by the partial or the final that follows.
            self._wrong, shown = not self._wrong, [*words[:-1], _other(words[-1])]
            return said if self._wrong else said._replace(text=" ".join(shown))
        return said

    async def _final(self, answer: Answer) -> Answer:
        if "twice" not in self._faults or not self._heard:
            return answer
        again = await self._worker.transcribe(
            np.concatenate(self._heard), deadline_s=self._deadline_s, priority="batch"
        )
        return answer._replace(infer_ms=answer.infer_ms + again.infer_ms)


def _other(word: str) -> str:
    """Another word than this: its letters the other way round, and one more."""
    return word[::-1] + "a"


def changed(said: Counted, faults: Mapping[Kind, Fault]) -> Counted:
    """What a worker says, with wrong words and figures."""
    if "nan" in faults:
        said = said._replace(infer_ms=math.nan)
    if "errors" in faults and isinstance(said, Answer):
        words = [_other(word) if place % 2 == 0 else word for place, word in enumerate(said.text.split())]
        said = said._replace(text=" ".join(words), words=[])
    return said
