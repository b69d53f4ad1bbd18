"""An EMR endpoint on this machine that runs steps with its own Spark. It knows nothing of the rest of the package."""

from emr_pipelines.emulator.buckets import InvalidBucket
from emr_pipelines.emulator.clock import ManualClock
from emr_pipelines.emulator.emulator import Emulator, RootUnusable, SparkUnusable, find_spark
from emr_pipelines.emulator.faults import InvalidFault, read_faults
from emr_pipelines.emulator.lifecycle import Durations
from emr_pipelines.emulator.records import Failure
from emr_pipelines.emulator.server import AddressInUse
from emr_pipelines.emulator.steps import Scripted

__all__ = [
    "AddressInUse",
    "Durations",
    "Emulator",
    "Failure",
    "InvalidBucket",
    "InvalidFault",
    "ManualClock",
    "RootUnusable",
    "Scripted",
    "SparkUnusable",
    "find_spark",
    "read_faults",
]
