"""What depends on a region's partition: endpoints of global services, prices, valid regions."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, cast

import boto3
import pytest

from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.partitions import PARTITIONS, REGION_FORM, known_regions, partition_of
from emr_pipelines.costs.pricing import PriceList


def test_every_region_is_in_botocore_s_partition() -> None:
    core = boto3.session.Session()
    regions = known_regions()
    assert {"us-east-1", "us-gov-west-1", "cn-north-1", "us-iso-east-1"} <= set(regions)
    for region in regions:
        assert partition_of(region).id == core.get_partition_for_region(region)
    assert PARTITIONS.keys() <= set(core.get_available_partitions())


def test_every_region_has_the_form_by_which_newer_ones_are_recognized() -> None:
    assert [region for region in known_regions() if not REGION_FORM.fullmatch(region)] == []
    newer = ["eu-central-9", "us-gov-east-7", "ap-northeast-9"]
    assert [region for region in newer if not REGION_FORM.fullmatch(region)] == []
    misspelt = ["us-est-1", "useast-1", "us-east1", "us-east-1a", "us--1", "eu-central", "Frankfurt", "", "us-east-1 "]
    assert [region for region in misspelt if REGION_FORM.fullmatch(region)] == []


@pytest.mark.parametrize(
    ("region", "partition"),
    [("eu-central-9", "aws"), ("us-gov-south-1", "aws-us-gov"), ("cn-south-1", "aws-cn"), ("xx-north-1", "")],
)
def test_a_newer_region_is_in_the_partition_of_its_neighbours(region: str, partition: str) -> None:
    assert partition_of(region).id == partition


@pytest.mark.parametrize(
    ("region", "iam", "pricing"),
    [
        ("eu-west-1", "https://iam.amazonaws.com", "https://api.pricing.us-east-1.amazonaws.com"),
        ("us-gov-east-1", "https://iam.us-gov.amazonaws.com", None),
        ("cn-north-1", "https://iam.cn-north-1.amazonaws.com.cn", None),
        ("us-iso-west-1", "https://iam.us-iso-east-1.c2s.ic.gov", None),
    ],
)
def test_global_services_are_asked_in_the_region_s_partition(
    monkeypatch: pytest.MonkeyPatch, region: str, iam: str, pricing: str | None
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EMR", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    aws = Aws(region)
    assert aws._client("iam").meta.endpoint_url == iam
    if pricing:
        assert aws._client("pricing").meta.endpoint_url == pricing


class Unpriced:
    """An Aws that must not be asked."""

    def __init__(self, region: str) -> None:
        self.region = region

    pages = Aws.pages

    def call(self, service: str, operation: str, **_: Any) -> Any:
        raise AssertionError(f"{service}.{operation} was called")


@pytest.mark.parametrize("region", ["cn-north-1", "us-gov-west-1", "us-iso-east-1", "eusc-de-east-1"])
@pytest.mark.parametrize("market", ["spot", "on demand"])
def test_where_no_price_is_in_usd_none_is_asked(region: str, market: str) -> None:
    prices = PriceList(cast("Aws", Unpriced(region)))
    assert prices.usd_per_hour("m5.xlarge", market, "", datetime(2026, 1, 2, tzinfo=timezone.utc)) is None
