"""PySpark programs as Dagster assets, on this machine, on a transient Amazon EMR cluster, or on EMR Serverless.

What definitions are written with can be imported from here. It is looked up when it is first asked for, because
programs import this package on clusters, where there is no Dagster.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emr_pipelines.assets.program import program_asset
    from emr_pipelines.automation.executor import in_process_by_default
    from emr_pipelines.automation.orphans import orphaned_clusters_sensor
    from emr_pipelines.backends.emr.spec import ClusterSpec
    from emr_pipelines.backends.emr_serverless.spec import ApplicationSpec
    from emr_pipelines.errors import EmrPipelinesError
    from emr_pipelines.runners.base import SparkRunner
    from emr_pipelines.runners.emr import EmrSparkRunner
    from emr_pipelines.runners.emr_serverless import EmrServerlessSparkRunner
    from emr_pipelines.runners.local import LocalSparkRunner
    from emr_pipelines.runners.target import configured_runner
    from emr_pipelines.storage import Storage

__all__ = [
    "ApplicationSpec",
    "ClusterSpec",
    "EmrPipelinesError",
    "EmrServerlessSparkRunner",
    "EmrSparkRunner",
    "LocalSparkRunner",
    "SparkRunner",
    "Storage",
    "configured_runner",
    "in_process_by_default",
    "orphaned_clusters_sensor",
    "program_asset",
]

_HOMES = {
    "ApplicationSpec": "backends.emr_serverless.spec",
    "ClusterSpec": "backends.emr.spec",
    "EmrPipelinesError": "errors",
    "EmrServerlessSparkRunner": "runners.emr_serverless",
    "EmrSparkRunner": "runners.emr",
    "LocalSparkRunner": "runners.local",
    "SparkRunner": "runners.base",
    "Storage": "storage",
    "configured_runner": "runners.target",
    "in_process_by_default": "automation.executor",
    "orphaned_clusters_sensor": "automation.orphans",
    "program_asset": "assets.program",
}


if not TYPE_CHECKING:  # else a type checker would take any name for one that is there

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
        try:
            found: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in ("dagster", __name__):
                raise
            raise ModuleNotFoundError(
                f"{__name__}.{name} needs Dagster, which no cluster has; a program stands in a module that does not "
                "import what its definitions need.",
                name=error.name,
            ) from error
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
