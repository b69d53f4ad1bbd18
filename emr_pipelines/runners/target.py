"""Which runner: the one that EMR_PIPELINES_TARGET names."""

from __future__ import annotations

import warnings

import click

from emr_pipelines import environment
from emr_pipelines.aws.deployment import base_uri, deployment_name
from emr_pipelines.aws.encryption import Encryption
from emr_pipelines.errors import EmrPipelinesError
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.emr import EmrSparkRunner
from emr_pipelines.runners.emr_serverless import EmrServerlessSparkRunner
from emr_pipelines.runners.local import LocalSparkRunner
from emr_pipelines.storage.address import resolve

RUNNERS: dict[environment.Target, type[SparkRunner]] = {
    "local": LocalSparkRunner,
    "emr": EmrSparkRunner,
    "emr-serverless": EmrServerlessSparkRunner,
}


class InvalidEnvironment(click.ClickException, EmrPipelinesError):
    """An environment variable has an invalid value, found when definitions load.

    Dagster's commands are click's, so they print this error as one sentence without a stack trace.
    """


def configured_runner() -> SparkRunner:
    """Return the runner that EMR_PIPELINES_TARGET names: Spark in this process (local, the
    default), on a cluster of EMR (emr), or on EMR Serverless (emr-serverless).

        defs = dg.Definitions(assets=[...], resources={"spark": configured_runner(), "storage": Storage()})

    Raises InvalidEnvironment for the first invalid variable of this package, and warns about unknown ones.
    """
    for sentence in environment.unknown():
        warnings.warn(sentence, stacklevel=2)
    try:
        environment.check()
        Encryption.configured()
        deployment_name()
        if environment.setting("EMR_PIPELINES_BUCKET"):
            base_uri()
        if address := environment.setting("EMR_PIPELINES_STORAGE"):
            resolve(address)
        return RUNNERS[environment.target()]()
    except EmrPipelinesError as error:
        raise InvalidEnvironment(str(error)) from None
