"""The page: clusters, their timelines, steps, machines and logs, for people."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape
from werkzeug.security import safe_join
from werkzeug.wrappers import Request, Response

from emr_pipelines.emulator.clock import Agenda
from emr_pipelines.emulator.faults import Faults
from emr_pipelines.emulator.files import files_below
from emr_pipelines.emulator.instances import normalized_instance_hours
from emr_pipelines.emulator.records import Cluster

CLUSTERS_SHOWN = 100
LOG_TAIL_BYTES = 200_000
TEMPLATES = Path(__file__).parent / "templates"


class Page:
    """`/_emulator/`, `/_emulator/clusters/<id>` and `/_emulator/logs/<path>`."""

    def __init__(self, clusters: dict[str, Cluster], logs: Path, faults: Faults, agenda: Agenda, about: str) -> None:
        self._clusters = clusters
        self._logs = logs
        self._faults = faults
        self._agenda = agenda
        self._templates = Environment(
            loader=FileSystemLoader(TEMPLATES), autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True
        )
        self._templates.filters |= {"time": _time, "duration": _duration}
        self._about = about

    def respond(self, request: Request) -> Response:
        match [part for part in request.path.split("/") if part][1:]:
            case []:
                return self._render("clusters.html", self._all)
            case ["clusters", name]:
                with self._agenda.lock:
                    cluster = self._clusters.get(name)
                if cluster is not None:
                    logs = self._logs_of(cluster)  # before the lock is taken, for there may be many
                    return self._render("cluster.html", lambda: self._one(cluster, logs))
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

    def _one(self, cluster: Cluster, logs: list[str]) -> dict[str, Any]:
        now = self._agenda.now()
        of_steps = {}
        for step in cluster.steps.values():
            places = [f"steps/{step.id}/"] + ([f"containers/{step.application_id}/"] if step.application_id else [])
            of_steps[step.id] = [log for log in logs if log.startswith(tuple(places))]
        return {
            "cluster": cluster,
            "hours": normalized_instance_hours(cluster, now),
            "phases": phases(cluster, now),
            "logs": of_steps,
            "other_logs": [log for log in logs if not any(log in of_step for of_step in of_steps.values())],
        }

    def _log(self, name: str) -> Response:
        found = safe_join(str(self._logs), name)
        try:
            with Path(found or "").open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - LOG_TAIL_BYTES))
                text = file.read()
        except (OSError, ValueError):  # missing, a folder, or a name that cannot be one
            return Response("There is no such log.\n", 404)
        if size > LOG_TAIL_BYTES:
            text = f"... {size - LOG_TAIL_BYTES:,} bytes before this\n".encode() + text
        return Response(text, content_type="text/plain; charset=utf-8")


def phases(cluster: Cluster, now: float) -> list[dict[str, Any]]:
    """The bars of a cluster's timeline: label, state, and its start and width in percent."""
    end = max(cluster.ended or now, cluster.created + 1e-3)
    bars = [("cluster", str(cluster.state), cluster.created, end)]
    if cluster.ready is None or cluster.ready > cluster.created:
        bars.append(("provisioning and bootstrap", "STARTING", cluster.created, cluster.ready or end))
    bars += [
        (step.name, str(step.state), step.started, step.ended or end)
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
