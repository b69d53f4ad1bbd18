"""The agenda runs each action once, in order, at its time."""

from __future__ import annotations

import threading

import pytest
from rehearsal import HUNG_SECONDS

from emr_emulator.clock import Agenda, ManualClock, SystemClock


def test_actions_run_in_the_order_in_which_they_are_due() -> None:
    agenda, seen = Agenda(ManualClock(100)), list[tuple[str, float]]()
    for name, seconds in (("c", 30), ("a", 10), ("b", 10)):
        agenda.after(seconds, lambda name=name: seen.append((name, agenda.now())))  # type: ignore[misc]
    agenda.after(15, lambda: agenda.after(5, lambda: seen.append(("new", agenda.now()))))
    agenda.advance(25)
    assert seen == [("a", 110), ("b", 110), ("new", 120)]
    assert agenda.now() == 125
    agenda.advance(5)
    assert seen[-1] == ("c", 130)


def test_a_system_clock_has_a_thread_that_one_failure_does_not_stop() -> None:
    failures: list[BaseException] = []
    agenda, done = Agenda(SystemClock(), failures.append), threading.Event()
    agenda.start()
    agenda.after(0, lambda: 1 / 0)  # type: ignore[arg-type]
    agenda.after(0.01, done.set)
    assert done.wait(HUNG_SECONDS)
    agenda.stop()
    assert [type(failure) for failure in failures] == [ZeroDivisionError]


def test_a_failure_under_a_manual_clock_is_raised() -> None:
    agenda = Agenda(ManualClock())
    agenda.after(1, lambda: 1 / 0)  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        agenda.advance(1)


def test_only_a_manual_clock_is_moved() -> None:
    with pytest.raises(TypeError, match="ManualClock"):
        Agenda(SystemClock()).advance(1)
