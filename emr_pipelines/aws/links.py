"""Links for people: pages of the AWS console, or of an emulator on this machine."""

from __future__ import annotations

import os
import posixpath
import re
from urllib.parse import quote

from emr_pipelines.aws.objects import split_uri
from emr_pipelines.aws.partitions import partition_of

ON_THIS_MACHINE = re.compile(r"http://(127\.0\.0\.1|localhost)(:\d+)?")


def cluster_page(region: str, cluster_id: str) -> str:
    """Return the cluster's page in the EMR console, which has its steps, instances and the Spark history server; a
    description in words if the region's console is unknown."""
    if emulator := _emulator():
        return f"{emulator}/_emulator/clusters/{cluster_id}"
    console = _console(region)
    if not console:
        return f"cluster {cluster_id} in the EMR console of {region}"
    return f"{console}/emr/home?region={region}#/clusterDetails/{cluster_id}"


def job_run_page(region: str, application_id: str, job_run_id: str) -> str:
    """Return where a job run can be looked at; in the console that is the list of applications, for a job run's own
    page belongs to the account's EMR Studio."""
    if emulator := _emulator():
        return f"{emulator}/_emulator/jobruns/{job_run_id}"
    console = _console(region)
    if not console:
        return f"job run {job_run_id} of application {application_id} in the EMR console of {region}"
    return f"{console}/emr/home?region={region}#/serverless"


def cluster_page_has() -> str:
    """Say in a few words what is on the cluster's page."""
    return "Cluster" if _emulator() else "Cluster, and Spark's history under Applications"


def objects_page(region: str, uri: str) -> str:
    """Return a folder's page in the S3 console; its URI if there is no such page (an emulator, an unknown region)."""
    console = _console(region)
    if _emulator() or not console:
        return uri
    bucket, key = split_uri(uri.rstrip("/") + "/")
    return f"{console}/s3/buckets/{bucket}?region={region}&prefix={quote(key)}"


def quota_page(region: str, service: str, code: str = "") -> str:
    """Return the page of a quota, or of a service's quotas; empty if the region's console is unknown."""
    path = f"servicequotas/home/services/{service}/quotas" + (f"/{code}" if code else "")
    console = _console(region)
    return console and f"{console}/{path}?region={region}"


def pages_of_failure(region: str, cluster_id: str, log_uri: str, service: str = "", quota: str = "") -> dict[str, str]:
    """Return the pages that help with a failure, by title: the cluster, its logs, and a quota."""
    pages = {cluster_page_has(): cluster_page(region, cluster_id)}
    folder = posixpath.dirname(log_uri)
    if folder.startswith("s3") and (page := objects_page(region, folder)) != folder:
        pages["Logs in the S3 console"] = page
    if service and (page := quota_page(region, service, quota)):
        pages["Service Quotas"] = page
    return pages


def _console(region: str) -> str:
    domain = partition_of(region).console
    return domain and f"https://{region}.{domain}"


def _emulator() -> str:
    """Return the endpoint of the AWS SDKs if it is on this machine."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_EMR") or os.environ.get("AWS_ENDPOINT_URL") or ""
    return endpoint.rstrip("/") if ON_THIS_MACHINE.fullmatch(endpoint.rstrip("/")) else ""
