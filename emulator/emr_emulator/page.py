"""The web page: clusters, their timelines, steps, instances and logs; job runs of EMR Serverless."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape
from werkzeug.security import safe_join
from werkzeug.wrappers import Request, Response

from emr_emulator.clock import Agenda
from emr_emulator.faults import Faults
from emr_emulator.files import files_below
from emr_emulator.instances import normalized_instance_hours
from emr_emulator.records import Cluster, Step, StepState
from emr_emulator.serverless.records import Application, JobRun
from emr_emulator.sparks import Spark, choose

CLUSTERS_SHOWN = 100
LOG_TAIL_BYTES = 200_000
STEPS_NAMED = 3  # the name of a cluster that was not given one
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?=[a-z]*\d)[0-9a-f]{8,}(\.\w*)?")  # a UUID, or a digest
LOGGED = re.compile(
    r"\d\d/\d\d/\d\d \d\d:\d\d:\d\d (TRACE|DEBUG|INFO|WARN)\b|\tat |\s+at "
)  # lines that do not explain a failure
ERROR = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit)\b|Exception in thread|Error: ")
TEMPLATES = Path(__file__).parent / "templates"


class Page:
    """`/_emulator/`, `/_emulator/clusters/<id>` and `/_emulator/logs/<path>`."""

    def __init__(
        self,
        clusters: dict[str, Cluster],
        applications: dict[str, Application],
        logs: Path,
        faults: Faults,
        agenda: Agenda,
        sparks: Sequence[Spark],
    ) -> None:
        self._clusters = clusters
        self._applications = applications
        self._logs = logs
        self._faults = faults
        self._agenda = agenda
        self._templates = Environment(
            loader=FileSystemLoader(TEMPLATES), autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True
        )
        self._templates.filters |= {
            "time": _time, "duration": _duration, "failed": failed, "headline": headline, "name_and_ids": name_and_ids,
        }  # fmt: skip
        self._sparks = sparks
        self._about = _about(sparks)

    def respond(self, request: Request) -> Response:
        match [part for part in request.path.split("/") if part][1:]:
            case []:
                return self._render("clusters.html", self._all)
            case ["clusters", name]:
                with self._agenda.lock:
                    cluster = self._clusters.get(name)
                    steps = list(cluster.steps.values()) if cluster is not None else []
                if cluster is not None:
                    logs = self._logs_of(cluster)  # before taking the lock, because there may be many
                    words = {step.id: self._last_words(cluster, step, logs) for step in steps if step.exit_code}
                    return self._render("cluster.html", lambda: self._one(cluster, logs, words))
            case ["jobruns", name]:
                with self._agenda.lock:
                    found = next((pair for pair in self._runs() if pair[1].id == name), None)
                if found is not None:
                    return self._render("jobrun.html", lambda: self._job_run(*found))
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
        runs = sorted(self._runs(), key=lambda pair: pair[1].created, reverse=True)
        return {
            "clusters": newest[:CLUSTERS_SHOWN],
            "more": len(newest[CLUSTERS_SHOWN:]),
            "runs": runs[:CLUSTERS_SHOWN],
        }

    def _runs(self) -> list[tuple[Application, JobRun]]:
        return [(application, run) for application in self._applications.values() for run in application.runs.values()]

    def _job_run(self, application: Application, run: JobRun) -> dict[str, Any]:
        folder = self._logs / "applications" / application.id / "jobs" / run.id
        return {
            "application": application,
            "run": run,
            "logs": sorted(os.path.relpath(path, self._logs) for path in files_below(str(folder))),
            "stand_in": self._stand_in(application.release),
        }

    def _stand_in(self, release: str) -> str:
        return choose(self._sparks, release).stands_in_for(release) if self._sparks else ""

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
            "stand_in": self._stand_in(cluster.release),
            "other_logs": [log for log in logs if not any(log in of_step for of_step in of_steps.values())],
        }

    def _last_words(self, cluster: Cluster, step: Step, logs: list[str]) -> tuple[str, str] | None:
        """Return the last line of a failed step's logs, preferably an error, and the log that has it."""
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
        return None if last and last[0] == said else last  # no repetition of what the state says

    def _log(self, name: str) -> Response:
        found = safe_join(str(self._logs), name)
        try:
            text = _tail(Path(found or ""))
        except (OSError, ValueError):  # missing, a folder, or an invalid name
            return Response("There is no such log.\n", 404)
        return Response(text, content_type="text/plain; charset=utf-8")


def failed(cluster: Cluster) -> str:
    """`6 of 8 steps failed`, or nothing."""
    count = sum(step.state is StepState.FAILED for step in cluster.steps.values())
    total = len(cluster.steps)
    return f"{count} of {total} {'step' if total == 1 else 'steps'} failed" if count else ""


def name_and_ids(name: str) -> tuple[str, str]:
    """Split a step's name into its readable part and the ids that clients append."""
    words = name.split()
    first = next((number for number, word in enumerate(words) if ID.fullmatch(word)), len(words))
    return (" ".join(words[:first]), " ".join(words[first:])) if first else (name, "")


def headline(cluster: Cluster) -> str:
    """Return a cluster's name, or the names of its first steps if its name is an id."""
    if not any(ID.fullmatch(word) for word in re.split(r"[/ ]|-(?=[0-9a-f]{8,}$)", cluster.name)):
        return cluster.name
    names = list(dict.fromkeys(name_and_ids(step.name)[0] for step in cluster.steps.values()))
    more = f" and {len(names) - STEPS_NAMED} more" if len(names) > STEPS_NAMED else ""
    return ", ".join(names[:STEPS_NAMED]) + more or cluster.name


def _of_step(step: Step, logs: list[str]) -> list[str]:
    places = [f"steps/{step.id}/"] + ([f"containers/{step.application_id}/"] if step.application_id else [])
    return [log for log in logs if log.startswith(tuple(places))]


def _tail(path: Path) -> str:
    """Return the end of a log. Raises OSError."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - LOG_TAIL_BYTES))
        text = file.read().decode(errors="replace")
    return f"... {size - LOG_TAIL_BYTES:,} bytes before this\n{text}" if size > LOG_TAIL_BYTES else text


def phases(cluster: Cluster, now: float) -> list[dict[str, Any]]:
    """Return the bars of a cluster's timeline: label, state, start and width in percent."""
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


def _about(sparks: Sequence[Spark]) -> str:
    if not sparks:
        return "Steps are scripted."
    versions = " or ".join(spark.version for spark in sparks) + (", as their release says," if sparks[1:] else "")
    return f"Steps run on Spark {versions} with master {sparks[0].master}."
