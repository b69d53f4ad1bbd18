"""A step that a full cluster refuses is retried at growing intervals, logged, and given up at the deadline."""

from __future__ import annotations

from contextlib import closing
from types import SimpleNamespace
from typing import Any, cast

import pytest

from emr_pipelines.aws.client import Aws
from emr_pipelines.backends.base import Deadlines
from emr_pipelines.backends.emr.room import Room
from emr_pipelines.errors import QuotaFull, TimedOut
from emr_pipelines.report import Lines
from tests.backends.emr.test_logs import Hour

FULL = QuotaFull("Maximum number of active steps(State = 'Running', ...) for cluster exceeded.", "ValidationException")


def room_of(clock: Hour, said: list[str], queueing: float = 3600) -> Room:
    aws: Any = SimpleNamespace(clock=clock)
    return Room(cast("Aws", aws), Deadlines(queueing=queueing), Lines(said.append, clock.now), said.append)


def test_the_pauses_grow_to_a_minute_and_end_with_the_deadline() -> None:
    clock, said = Hour(), list[str]()
    began = clock.now()
    with closing(room_of(clock, said)) as room:

        def wait() -> None:
            while True:
                room.wait("j-1", FULL)

        with pytest.raises(TimedOut, match="had not begun after 60 minutes: 256") as at:
            wait()
    assert clock.now() - began == pytest.approx(3600)
    assert 4 < clock.pauses[0] < 6
    assert max(clock.pauses) < 60 * 1.15 + 1
    assert len(clock.pauses) < 80
    assert not at.value.retryable  # a person decides whether it is worth another hour
    assert at.value.facts["kind"] == "TIMED_OUT"


def test_the_wait_is_told_once_and_then_ever_more_rarely() -> None:
    clock, said = Hour(), list[str]()
    with closing(room_of(clock, said)) as room:
        while clock.now() < Hour().time + 1800:
            room.wait("j-1", FULL)
    assert [line for line in said if line.startswith("Cluster j-1 has 256 running and pending steps")] == said[:1]
    assert 2 < len(said) < 30
    assert said[-1].startswith("Waiting for room on cluster j-1: 256 steps are running or pending, ")


def test_another_quota_is_not_waited_for() -> None:
    clock = Hour()
    with closing(room_of(clock, [])) as room, pytest.raises(QuotaFull, match="vCPU"):
        room.wait("j-1", QuotaFull("vCPU limit", "VcpuLimitExceeded"))
    assert clock.pauses == []
