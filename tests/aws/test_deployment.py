"""Which buckets in settings Spark can use."""

from __future__ import annotations

import pytest

from emr_pipelines.aws.deployment import base_uri, bucket_fault
from emr_pipelines.errors import InvalidValue, StorageUnusable
from emr_pipelines.storage.address import resolve

# what java.net.URI has no host for (getHost() was asked of each with Java 17), and names that S3 never has
UNUSABLE = {
    "my_bucket": "underscore",
    "_bucket": "underscore",
    "okokes-test-v1.1": "digit after its last dot, as '1' has",
    "a.1b": "digit after its last dot, as '1b' has",
    "a..b": "beside each dot",
    "a.-b": "beside each dot",
    "a-.b": "beside each dot",
    ".ab": "beside each dot",
    "ab-": "at its ends",
    "192.168.1.1": "an IP address",
    "xn--bucket": "begins with xn--",
    "ab": "3 to 63 characters",
    "b" * 64: "3 to 63 characters",
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_bucket_that_spark_cannot_use_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(InvalidValue, match=UNUSABLE[name]) as caught:
        base_uri(name, environ={})
    assert str(caught.value).startswith(f"bucket is {name!r}; allowed: a bucket that Spark can use; ")
    with pytest.raises(StorageUnusable, match=UNUSABLE[name]) as refused:
        resolve(f"s3://{name}/data")
    assert str(refused.value).startswith(f"The storage 's3://{name}/data' is not allowed: ")


@pytest.mark.parametrize(
    "name", ["my-bucket", "a.b.c", "1bucket", "123", "1.b", "a1.b-c.d2", "access-point-abc-s3alias", "b" * 63]
)
def test_a_bucket_that_spark_can_use(name: str) -> None:
    assert bucket_fault(name) is None
    assert base_uri(f"s3://{name}/prefix", environ={}) == f"s3://{name}/prefix/default"
    assert resolve(f"s3://{name}/data") == f"s3://{name}/data"
