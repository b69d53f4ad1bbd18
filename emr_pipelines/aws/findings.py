"""What a check of the setup finds, and what the checks look at. `doctor.py` runs the checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from emr_pipelines import environment
from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.preflight import Settings
from emr_pipelines.enums import TextEnum

NOT_OFFERED = frozenset({"NotEmulated", "UnknownOperationException", "UnknownOperation"})
NO_REGION = "NoRegion"


class Verdict(TextEnum):
    OK = "OK"
    MISSING = "MISSING"
    WRONG = "WRONG"
    UNCHECKED = "UNCHECKED"  # the check was not possible, which is no failure


@dataclass(frozen=True)
class Finding:
    """The result of a check, with what to do if it is bad."""

    check: str
    verdict: Verdict
    found: str
    to_do: str = ""

    def __str__(self) -> str:
        sentences = self.found if self.found.endswith(".") else f"{self.found}."
        return f"{self.verdict:<9}  {self.check}: {sentences}" + (f" {self.to_do}" if self.to_do else "")


@dataclass(frozen=True)
class DoctorContext:
    """What the checks look at: AWS and the environment.

    storage: returns the address where assets are stored; raises what `Storage` raises for an invalid one.
    """

    aws: Aws
    environ: Mapping[str, str]
    storage: Callable[[], str]

    @property
    def settings(self) -> Settings:
        return Settings(self.aws, self.environ)

    def setting(self, name: str) -> str:
        return environment.setting(name, self.environ)


Check = Callable[[DoctorContext], Finding]


def ok(found: str) -> Finding:
    return Finding("", Verdict.OK, found)


def missing(found: str, to_do: str = "") -> Finding:
    return Finding("", Verdict.MISSING, found, to_do)


def wrong(found: str, to_do: str = "") -> Finding:
    return Finding("", Verdict.WRONG, found, to_do)


def unchecked(found: str) -> Finding:
    return Finding("", Verdict.UNCHECKED, found)
