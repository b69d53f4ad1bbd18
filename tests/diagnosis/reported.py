"""The kind of an exception that a program raised in this process."""

from __future__ import annotations

from emr_pipelines.diagnosis.cause import diagnose
from emr_pipelines.diagnosis.evidence import Evidence
from emr_pipelines.diagnosis.kinds import Kind
from emr_pipelines.runners.failures import _as_remote


def kind_of(error: BaseException) -> Kind:
    return diagnose(Evidence(exception=_as_remote(error))).kind
