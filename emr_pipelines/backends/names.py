"""Write and read the names of clusters and steps on EMR; nothing else does.

RunJobFlow and AddJobFlowSteps take no client token, so a cluster or step whose response was lost, or that an earlier
process left, is found by its name. People read the names too: they say which deployment, run and asset it is.

    a cluster   emr-pipelines/<deployment>/<scope>/<key>                the key begins with a run's id, or is a pool's
    a step      <assets> <identity>.<attempt> <run id> <retry number>   assets: keys with commas, or op:<name>
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

PRODUCT = "emr-pipelines"  # prefix of every cluster name
RUN_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LONGEST_ASKED_BY = "-" * (36 + 4)  # a UUID, and the number of a retry

ScopeKind = Literal["asset", "run", "pool"]


@dataclass(frozen=True)
class Scope:
    """Who shares a cluster: the steps of one asset, of one run, or of all runs (`pool`, up to `most` clusters)."""

    kind: ScopeKind
    key: str
    most: int = 1

    def keys(self) -> list[str]:
        return [f"{self.key}-{number}" for number in range(self.most)] if self.kind == "pool" else [self.key]


@dataclass(frozen=True)
class ClusterName:
    """The parts of a cluster's name; empty if they are missing."""

    deployment: str = ""
    kind: ScopeKind | Literal[""] = ""
    key: str = ""

    def __str__(self) -> str:
        return f"{PRODUCT}/{self.deployment}/{self.kind}/{self.key}"

    @classmethod
    def parse(cls, name: str) -> ClusterName:
        """Parse a name; all parts of a foreign name are empty."""
        product, _, rest = name.partition("/")
        parts = rest.split("/", 2)
        if product != PRODUCT or len(parts) < len(("deployment", "kind", "key")):
            return cls()
        deployment, kind, key = parts
        known: tuple[ScopeKind, ...] = get_args(ScopeKind)
        return next((cls(deployment, scope, key) for scope in known if scope == kind), cls(deployment))

    @property
    def run_id(self) -> str:
        """The run that the cluster was launched for; empty for a pool's."""
        if self.kind not in ("run", "asset"):
            return ""
        found = RUN_ID.match(self.key)
        return found.group() if found else self.key


def is_ours(name: str, deployment: str = "") -> bool:
    """Whether this package gave a cluster its name; with a deployment, whether that is the deployment's."""
    return name.startswith(f"{prefix_of(deployment) if deployment else PRODUCT}/")


def prefix_of(deployment: str) -> str:
    """Return the first parts of the names of a deployment's clusters."""
    return f"{PRODUCT}/{deployment}"


def begins_with(name: str, prefix: str) -> bool:
    """Whether a cluster's name has these first parts. prefix: parts as `prefix_of` returns them, or a whole name."""
    return f"{name}/".startswith(f"{prefix}/")


def step_prefix(label: str, identity: str) -> str:
    """Return the prefix of the names of all steps that do the same work."""
    return f"{label} {identity}."


def step_name(label: str, identity: str, attempt: int | str, asked_by: str) -> str:
    """Return the name of a step. asked_by: the run's id and its retry number; no other step may have the same name."""
    return f"{step_prefix(label, identity)}{attempt} {asked_by}"


@dataclass(frozen=True)
class StepName:
    """The parts of a step's name; empty, or 0, if they are missing."""

    label: str
    attempt: int = 0
    run_id: str = ""

    @classmethod
    def parse(cls, name: str) -> StepName:
        label, _, rest = name.partition(" ")
        number = rest.partition(" ")[0].rpartition(".")[2]
        found = RUN_ID.search(name)
        return cls(label, int(number) if number.isdigit() else 0, found.group() if found else "")

    @property
    def assets(self) -> list[str]:
        """The keys of the assets that the step is for; a single OP and name if it is for an op."""
        return self.label.split(",")
