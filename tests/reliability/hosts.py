"""Hosts: threads with clocks that differ, in a time that passes when all of them pause."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from emr_pipelines.emulator import Emulator

T = TypeVar("T")
STUCK_SECONDS = 120.0  # of real time
HELPER_SECONDS = 3.0  # between two looks of a host's helper threads, whose pauses let no time pass


class Killed(BaseException):
    """What a killed host does from then on: nothing."""


class Host:
    """A clock that is ahead of AWS's by some seconds, and the thread that goes by it."""

    def __init__(self, hosts: Hosts, ahead_seconds: float) -> None:
        self._hosts, self._ahead = hosts, ahead_seconds
        self.thread = threading.current_thread()

    def now(self) -> float:
        return self._hosts.emulator._agenda.now() + self._ahead

    def pause(self, seconds: float, until: threading.Event | None = None) -> None:
        if threading.current_thread() is self.thread:
            if until is None or not until.is_set():
                self._hosts.sleep(seconds)
        elif until is not None:
            until.wait(HELPER_SECONDS)
        else:
            self._hosts.skip(seconds)


class Hosts:
    """Runs actors at once, each on a host of its own. Those whose pauses end together go on together.

    before_time_passes: is called whenever all of them pause.
    """

    def __init__(self, emulator: Emulator, before_time_passes: Callable[[], None] = lambda: None) -> None:
        self.emulator = emulator
        self._before = before_time_passes
        self._condition = threading.Condition()
        self._awake: set[threading.Thread] = set()
        self._asleep: dict[threading.Thread, float] = {}
        self._here = threading.local()

    def clock(self) -> Host:
        """That of the host whose thread asks."""
        host: Host = self._here.host
        return host

    def run(
        self, actors: Sequence[Callable[[], T]], ahead_seconds: Sequence[float] = (0.0,)
    ) -> list[T | BaseException]:
        """What the actors returned, or raised. ahead_seconds: of their clocks, one after the other and over again."""
        outcomes: dict[int, T | BaseException] = {}

        def act(number: int) -> None:
            self._here.host = Host(self, ahead_seconds[number % len(ahead_seconds)])
            try:
                outcomes[number] = actors[number]()
            except BaseException as error:  # noqa: BLE001 (for the test to look at)
                outcomes[number] = error
            finally:
                with self._condition:
                    self._awake.discard(threading.current_thread())
                    self._let_time_pass()

        threads = [threading.Thread(target=act, args=(number,), daemon=True) for number in range(len(actors))]
        self._awake = set(threads)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(STUCK_SECONDS)
            assert not thread.is_alive()
        return [outcomes[number] for number in range(len(actors))]

    def sleep(self, seconds: float) -> None:
        me = threading.current_thread()
        with self._condition:
            self._awake.discard(me)
            self._asleep[me] = self.emulator._agenda.now() + max(seconds, 0.0)
            self._let_time_pass()
            assert self._condition.wait_for(lambda: me in self._awake, STUCK_SECONDS)

    def skip(self, seconds: float) -> None:
        """Let time pass for who waits for a helper."""
        with self._condition:
            self.emulator.advance(seconds)

    def _let_time_pass(self) -> None:
        if self._awake or not self._asleep:
            return
        self._before()
        self.emulator.advance(max(0.0, min(self._asleep.values()) - self.emulator._agenda.now()))
        now = self.emulator._agenda.now() + 1e-6
        self._awake = {thread for thread, until in self._asleep.items() if until <= now}
        for thread in self._awake:
            del self._asleep[thread]
        self._condition.notify_all()
