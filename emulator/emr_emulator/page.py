"""The page: clusters, their timelines, steps, machines and logs, for people."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape
from werkzeug.security import safe_join
from werkzeug.wrappers import Request, Response

from emr_emulator import releases
from emr_emulator.clock import Agenda
from emr_emulator.commands import Spark
from emr_emulator.faults import Faults
from emr_emulator.files import files_below
from emr_emulator.instances import normalized_instance_hours
from emr_emulator.records import Cluster, Step, StepState

CLUSTERS_SHOWN = 100
LOG_TAIL_BYTES = 200_000
STEPS_NAMED = 3  # of a cluster without a name of its own
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?=[a-z]*\d)[0-9a-f]{8,}(\.\w*)?")  # a UUID, or a digest
LOGGED = re.compile(
    r"\d\d/\d\d/\d\d \d\d:\d\d:\d\d (TRACE|DEBUG|INFO|WARN)\b|\tat |\s+at "
)  # lines that say nothing of an end
ERROR = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit)\b|Exception in thread|Error: ")
TEMPLATES = Path(__file__).parent / "templates"


class Page:
    """`/_emulator/`, `/_emulator/clusters/<id>` and `/_emulator/logs/<path>`."""

    def __init__(
        self, clusters: dict[str, Cluster], logs: Path, faults: Faults, agenda: Agenda, spark: Spark | None
    ) -> None:
        self._clusters = clusters
        self._logs = logs
        self._faults = faults
        self._agenda = agenda
        self._templates = Environment(
            loader=FileSystemLoader(TEMPLATES), autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True
        )
        self._templates.filters |= {
            "time": _time, "duration": _duration, "failed": failed, "headline": headline, "name_and_ids": name_and_ids,
        }  # fmt: skip
        self._about = (
            f"Steps run on Spark {spark.version} with master {spark.master}." if spark else "Steps are scripted."
        )
        self._spark_version = spark.version if spark else ""

    def respond(self, request: Request) -> Response:
        match [part for part in request.path.split("/") if part][1:]:
            case []:
                return self._render("clusters.html", self._all)
            case ["clusters", name]:
                with self._agenda.lock:
                    cluster = self._clusters.get(name)
                    steps = list(cluster.steps.values()) if cluster is not None else []
                if cluster is not None:
                    logs = self._logs_of(cluster)  # before the lock is taken, for there may be many
                    words = {step.id: self._last_words(cluster, step, logs) for step in steps if step.exit_code}
                    return self._render("cluster.html", lambda: self._one(cluster, logs, words))
            case ["logs", *path]:
                return self._log("/".join(path))
        return Response(f"There is no {request.path} here; try /_emulator/.\n", 404)

    def _render(self, template: str, values: Callable[[], dict[str, Any]]) -> Response:
        with self._agenda.lock:
            page = self._templates.get_template(template).render(
                values(), now=self._agenda.now(), about=self._about, faults=self._faults.waiting()
            )
        return Response(page, content_type="text/html; charset=utf-8")

    def _all(self) -> dict[str, Any]:
        newest = list(reversed(self._clusters.values()))
        return {"clusters": newest[:CLUSTERS_SHOWN], "more": len(newest[CLUSTERS_SHOWN:])}

    def _logs_of(self, cluster: Cluster) -> list[str]:
        folder = self._logs / cluster.id
        return sorted(os.path.relpath(path, folder) for path in files_below(str(folder)) if Path(path).stat().st_size)

    def _one(self, cluster: Cluster, logs: list[str], words: dict[str, tuple[str, str] | None]) -> dict[str, Any]:
        now = self._agenda.now()
        of_steps = {step.id: _of_step(step, logs) for step in cluster.steps.values()}
        return {
            "cluster": cluster,
            "hours": normalized_instance_hours(cluster, now),
            "phases": phases(cluster, now),
            "logs": of_steps,
            "words": words,
            "stand_in": releases.stand_in(cluster.release, self._spark_version),
            "other_logs": [log for log in logs if not any(log in of_step for of_step in of_steps.values())],
        }

    def _last_words(self, cluster: Cluster, step: Step, logs: list[str]) -> tuple[str, str] | None:
        """What the logs of a failed step end with, and the log that has it: an error if there is one."""
        folder, of_step = self._logs / cluster.id, _of_step(step, logs)
        drivers = [log for log in of_step if "/containers/" not in f"/{log}" or log.split("/")[2].endswith("_000001")]
        last: tuple[str, str] | None = None
        for log in sorted(drivers, key=lambda log: not log.endswith("stdout")):
            if not log.endswith(("stdout", "stderr")):
                continue
            lines = [line for line in _tail(folder / log).splitlines() if line.strip() and not LOGGED.match(line)]
            for line in reversed(lines):
                if ERROR.match(line):
                    return line, log
            if lines and log.endswith("stderr"):
                last = lines[-1], log
        said = step.failure.message if step.failure else None
        return None if last and last[0] == said else last  # what is said already is not said again

    def _log(self, name: str) -> Response:
        found = safe_join(str(self._logs), name)
        try:
            text = _tail(Path(found or ""))
        except (OSError, ValueError):  # missing, a folder, or a name that cannot be one
            return Response("There is no such log.\n", 404)
        return Response(text, content_type="text/plain; charset=utf-8")


def failed(cluster: Cluster) -> str:
    """`6 of 8 steps failed`, or nothing."""
    count = sum(step.state is StepState.FAILED for step in cluster.steps.values())
    total = len(cluster.steps)
    return f"{count} of {total} {'step' if total == 1 else 'steps'} failed" if count else ""


def name_and_ids(name: str) -> tuple[str, str]:
    """A step's name for people, and the ids behind it by which clients find their steps again."""
    words = name.split()
    first = next((number for number, word in enumerate(words) if ID.fullmatch(word)), len(words))
    return (" ".join(words[:first]), " ".join(words[first:])) if first else (name, "")


def headline(cluster: Cluster) -> str:
    """What a cluster is for: its name, or where that is an id the names of its first steps."""
    if not any(ID.fullmatch(word) for word in re.split(r"[/ ]|-(?=[0-9a-f]{8,}$)", cluster.name)):
        return cluster.name
    names = list(dict.fromkeys(name_and_ids(step.name)[0] for step in cluster.steps.values()))
    more = f" and {len(names) - STEPS_NAMED} more" if len(names) > STEPS_NAMED else ""
    return ", ".join(names[:STEPS_NAMED]) + more or cluster.name


def _of_step(step: Step, logs: list[str]) -> list[str]:
    places = [f"steps/{step.id}/"] + ([f"containers/{step.application_id}/"] if step.application_id else [])
    return [log for log in logs if log.startswith(tuple(places))]


def _tail(path: Path) -> str:
    """The end of a log. Raises OSError."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - LOG_TAIL_BYTES))
        text = file.read().decode(errors="replace")
    return f"... {size - LOG_TAIL_BYTES:,} bytes before this\n{text}" if size > LOG_TAIL_BYTES else text


def phases(cluster: Cluster, now: float) -> list[dict[str, Any]]:
    """The bars of a cluster's timeline: label, state, and its start and width in percent."""
    end = max(cluster.ended or now, cluster.created + 1e-3)
    bars = [("cluster", str(cluster.state), cluster.created, end)]
    if cluster.ready is None or cluster.ready > cluster.created:
        bars.append(("provisioning and bootstrap", "STARTING", cluster.created, cluster.ready or end))
    bars += [
        (name_and_ids(step.name)[0], str(step.state), step.started, step.ended or end)
        for step in cluster.steps.values()
        if step.started is not None
    ]
    whole = end - cluster.created
    return [
        {
            "label": label,
            "state": state,
            "left": 100 * (start - cluster.created) / whole,
            "width": max(0.4, 100 * (stop - start) / whole),
            "seconds": stop - start,
        }
        for label, state, start, stop in bars
    ]


def _time(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest:.0f} s" if minutes else f"{rest:.1f} s"
