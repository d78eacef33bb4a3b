"""A store in memory whose callers take turns: a schedule decides whose call is next, so that a race can be replayed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from registry.store.memory import MemoryStore

PATIENCE_S = 30.0


class SteppedStore(MemoryStore):
    """Every call of an actor waits for its turn; calls outside `run` do not.

    `choose` is handed the names of the actors that wait, sorted, and names the one that goes on.
    """

    def __init__(self, choose: Callable[[list[str]], str], clock: Callable[[], float]) -> None:
        super().__init__(clock=clock)
        self._choose = choose
        self._turns = threading.Condition()
        self._alive: set[str] = set()
        self._waiting: set[str] = set()
        self._next = ""

    def run(self, actors: Mapping[str, Callable[[], None]]) -> dict[str, BaseException | None]:
        """Run all actors to their end, one call at a time; what each of them raised."""
        ended: dict[str, BaseException | None] = {}

        def act(name: str) -> None:
            try:
                actors[name]()
                ended[name] = None
            except BaseException as error:
                ended[name] = error
            finally:
                with self._turns:
                    self._alive.discard(name)
                    self._hand_on()

        self._alive = set(actors)
        threads = [threading.Thread(target=act, args=(name,), name=name, daemon=True) for name in actors]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), f"{thread.name} hangs"
        return ended

    def _hand_on(self) -> None:
        if self._alive and self._waiting == self._alive:
            self._next = self._choose(sorted(self._waiting))
            self._turns.notify_all()

    @contextmanager
    def _call(self) -> Iterator[None]:
        name = threading.current_thread().name
        with self._turns:
            if name in self._alive:
                self._waiting.add(name)
                self._hand_on()
                assert self._turns.wait_for(lambda: self._next == name, PATIENCE_S), f"{name} waits for ever"
                self._waiting.discard(name)
                self._next = ""
        with super()._call():
            yield
