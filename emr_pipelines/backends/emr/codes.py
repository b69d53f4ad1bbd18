"""EMR's codes for failures of clusters: which kind of failure each is, and what to do about it."""

from __future__ import annotations

import re

from emr_pipelines.aws.quotas import FULL
from emr_pipelines.diagnosis.kinds import Kind, Meaning

HINTS_BY_CODE = {  # where a code allows a better hint than its kind
    "BOOTSTRAP_FAILURE_FILE_NOT_FOUND": "Check the paths of the bootstrap action's script, and of the files it reads.",
    "BOOTSTRAP_FAILURE_BA_DOWNLOAD_FAILED": "Check the script's path, and that the instance profile may read it.",
    "BOOTSTRAP_FAILURE_INSUFFICIENT_DISK_SPACE": "Give the instances a larger root volume.",
    "BOOTSTRAP_FAILURE_HIVE_METASTORE_CONNECTION_ERROR": (
        "Check the metastore's address and password, and that the cluster can reach it."
    ),
    "VALIDATION_ERROR_INSTANCE_TYPE_NOT_SUPPORTED": (
        "Choose an instance type that the Availability Zone offers, or a subnet in another zone."
    ),
    "VALIDATION_ERROR_INVALID_SSH_KEY_NAME": "Use the name of an existing EC2 key pair, or none.",
    "VALIDATION_ERROR_SUBNET_NOT_FROM_ONE_VPC": "Use subnets of a single VPC.",
    "VALIDATION_ERROR_SECURITY_GROUP_NOT_FROM_ONE_VPC": "Use security groups of the subnet's VPC.",
}

# a bootstrap failure that no bootstrap action caused
NOT_PROVISIONED = Meaning(
    "EMR could not install the cluster's applications:",
    "Try again; if it persists, check the cluster's configurations and applications, and the logs under node/.",
    retryable=True,
)
PROVISIONING_SAID = re.compile("application provisioning failed")  # there is no code for it
SCRIPT_RAN = re.compile("BOOTSTRAP_FAILURE(_.*NON_ZERO_CODE)?")  # with these codes, a bootstrap action left a log

# codes of Status.ErrorDetails and Status.StateChangeReason by family; the first match counts
# Sources: EMR Management Guide, "Error codes with Reason information"; API Reference, ClusterStateChangeReason
KINDS_BY_CODE = (
    (re.compile("|".join([*sorted(FULL), ".*(QUOTA|LIMIT)_EXCEEDED"])), Kind.QUOTA),
    (re.compile(r".*(INSUFFICIENT|NO)_CAPACITY|INSTANCE_FLEET_TIMEOUT"), Kind.CAPACITY),
    (re.compile(r".*SPOT"), Kind.SPOT_LOST),
    (re.compile(r"BOOTSTRAP_FAILURE"), Kind.BOOTSTRAP),
    (re.compile(r"VALIDATION_ERROR"), Kind.VALIDATION),
    (re.compile(r"INSTANCE_FAILURE"), Kind.INSTANCE_LOST),
    (re.compile(r"INTERNAL_ERROR"), Kind.INTERNAL),
)
# EMR has no code for a full quota (quotas.py) or a lack of capacity: it says so in messages of these families
NAMES_NO_CODE = frozenset({Kind.VALIDATION, Kind.INTERNAL})
CAPACITY_SAID = re.compile("EC2 is out of capacity")
