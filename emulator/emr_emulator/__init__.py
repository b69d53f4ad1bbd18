"""An EMR, EMR Serverless, S3 and STS endpoint on this machine that runs steps with the installed Spark."""

from emr_emulator.buckets import InvalidBucket
from emr_emulator.clock import ManualClock
from emr_emulator.emulator import Emulator, RootUnusable
from emr_emulator.faults import InvalidFault, read_faults
from emr_emulator.provisioning import Durations
from emr_emulator.records import Failure
from emr_emulator.server import AddressInUse
from emr_emulator.sparks import SparkUnusable, find_spark, find_sparks
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
    "find_sparks",
    "read_faults",
]
