"""An EMR endpoint on this machine that runs steps with its own Spark. It knows nothing of the rest of the package."""

from emr_emulator.buckets import InvalidBucket
from emr_emulator.clock import ManualClock
from emr_emulator.emulator import Emulator, RootUnusable, SparkUnusable, find_spark
from emr_emulator.faults import InvalidFault, read_faults
from emr_emulator.lifecycle import Durations
from emr_emulator.records import Failure
from emr_emulator.server import AddressInUse
from emr_emulator.steps import Scripted

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
