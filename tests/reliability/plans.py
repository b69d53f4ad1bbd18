"""Plans of kills: drawn from a seed, and written as text so that a kill can be repeated."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

TARGETS = ("worker", "step", "daemon", "connection")
SIGNALS = ("SIGTERM", "SIGINT", "SIGKILL")
CUTS = {"reset": 0.0, "down": 0.4}  # how the connection breaks, and for how many seconds
EXECUTORS = ("in_process", "multiprocess")
SCOPES = ("run", "asset", "pool")
SERVERLESS = "serverless"  # in the place of a scope: on EMR Serverless
SIDES = ("before", "after")  # the request has taken effect
# the most critical moments: requests (a part of their text), and a program's actions
POINTS = (
    "begun.json", "clusters/", "RunJobFlow", "task.json", "AddJobFlowSteps", "step begins", "result is left",
    "_published.json", "latest.json", "?delete", "TerminateJobFlows",
)  # fmt: skip
POINTS_ON_SERVERLESS = (
    "CreateApplication", "context.json", "submission.json", "StartJobRun", "submitted.json", "step begins",
    "result is left", "_published.json", "latest.json", "?delete",
)  # fmt: skip
REQUESTS = {"in_process": 75, "multiprocess": 150}  # of a whole run, roughly; a larger number is drawn again
SECONDS = {"in_process": 6.0, "multiprocess": 9.0}  # of a whole run, roughly
DAEMON_SHARE = 0.05  # a daemon takes long to start


@dataclass(frozen=True)
class Plan:
    """One kill. moment: the number of a request, a point, or a share of a run's duration; `nth`: which of the requests
    at a point, or of several processes. retry_first: before the sensor's ticks, not behind them. hasty: while what the
    killed left behind still runs."""

    target: str
    how: str
    executor: str
    scope: str
    moment: str
    side: str = "before"
    nth: int = 1
    retry_first: bool = False
    hasty: bool = False

    @classmethod
    def drawn(cls, seed: str, serverless: bool = False) -> Plan:
        draw = random.Random(seed)  # noqa: S311 (chance, not secrets)
        target = "daemon" if draw.random() < DAEMON_SHARE else draw.choice(("worker", "worker", "step", "connection"))
        executor = {"step": "multiprocess", "daemon": "in_process"}.get(target) or draw.choice(EXECUTORS)
        scope = SERVERLESS if serverless else draw.choice(SCOPES)
        points: tuple[str, ...] = POINTS_ON_SERVERLESS if serverless else POINTS
        points = points[:-1] if scope == "pool" else points  # a pool's cluster is not terminated
        weights = (2, 8, 0) if target == "daemon" else (6, 4, 1)  # its sensors make requests too, and it starts slowly
        kind = draw.choices(("request", "point", "share"), weights)[0]
        moment = {
            "request": f"request {draw.randint(1, REQUESTS[executor])}",
            "point": draw.choice(points),
            "share": f"{draw.random():.3f} of the run",
        }[kind]
        return cls(
            target=target,
            how=draw.choice(tuple(CUTS) if target == "connection" else SIGNALS),
            executor=executor,
            scope=scope,
            moment=moment,
            side=draw.choice(SIDES),
            nth=draw.choice((1, 1, 2)) if executor == "multiprocess" else 1,
            retry_first=draw.random() < 0.5,
            hasty=draw.random() < 0.5,
        )

    @classmethod
    def parse(cls, text: str) -> Plan:
        """Parse the text of a plan."""
        words: dict[str, Any] = dict(part.split("=", 1) for part in text.split(", "))
        for name in ("retry_first", "hasty"):
            words[name] = words[name] == "True"
        return cls(**{**words, "nth": int(words["nth"])})

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in vars(self).items())

    @property
    def number(self) -> int | None:
        """Return the number of the request that it waits for."""
        words = self.moment.split()
        return int(words[1]) if words[0] == "request" else None

    @property
    def share(self) -> float | None:
        return float(self.moment.split()[0]) if self.moment.endswith(" of the run") else None

    @property
    def assets(self) -> tuple[str, ...]:
        return ("left",) if self.executor == "in_process" else ("left", "right")
