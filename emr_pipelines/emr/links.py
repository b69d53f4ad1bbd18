"""Where a person looks: pages of the AWS console."""

from __future__ import annotations

from urllib.parse import quote

from emr_pipelines.emr.objects import split_uri


def cluster_page(region: str, cluster_id: str) -> str:
    """The cluster in the EMR console: its steps, its instances, and the Spark history server under Applications."""
    return f"https://{region}.console.aws.amazon.com/emr/home?region={region}#/clusterDetails/{cluster_id}"


def objects_page(region: str, uri: str) -> str:
    """A folder in the S3 console."""
    bucket, key = split_uri(uri.rstrip("/") + "/")
    return f"https://{region}.console.aws.amazon.com/s3/buckets/{bucket}?region={region}&prefix={quote(key)}"
