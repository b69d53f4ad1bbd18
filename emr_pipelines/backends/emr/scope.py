"""Scopes: who shares a cluster, and the name that a cluster has because of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PRODUCT = "emr-pipelines"  # prefix of every cluster name

ScopeKind = Literal["asset", "run", "pool"]


def name_of(deployment: str, kind: ScopeKind, key: str) -> str:
    """The name of a cluster. It is the key that finds the cluster again: RunJobFlow and ListClusters know no other."""
    return f"{PRODUCT}/{deployment}/{kind}/{key}"


@dataclass(frozen=True)
class Scope:
    """Who shares a cluster: the steps of one asset, of one run, or of all runs (`pool`, up to `most` clusters)."""

    kind: ScopeKind
    key: str
    most: int = 1

    def keys(self) -> list[str]:
        return [f"{self.key}-{number}" for number in range(self.most)] if self.kind == "pool" else [self.key]
