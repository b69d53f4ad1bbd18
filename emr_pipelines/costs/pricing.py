"""What an hour of an instance costs, as AWS's price lists say; asked in a hurry, for nobody should wait for a price."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.partitions import partition_of
from emr_pipelines.errors import AwsError

PRICES_WITHIN_SECONDS = 10.0
MAX_PAGES = 10
SPOT = "spot"

EC2_PRODUCT = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "capacitystatus": "Used",
    "preInstalledSw": "NA",
    "marketoption": "OnDemand",
}
EMR_PRODUCT = {"productFamily": "Elastic Map Reduce Instance", "softwareType": "EMR"}


class PriceList:
    """USD per instance and hour in a region: EC2's price, on demand or spot, and EMR's on top of it, which is the same
    for both. None where AWS has no price, does not give it, or lists none in USD, as in China and GovCloud.

    Once a service has refused, or not answered, it is not asked again.
    """

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._silent: set[str] = set()

    def usd_per_hour(self, instance_type: str, market: str, zone: str, at: datetime) -> float | None:
        """market: `spot`, or anything else for on demand. zone, at: the availability zone (empty when it is not known)
        and the time whose spot price counts."""
        try:
            fee = self._listed("ElasticMapReduce", instance_type, EMR_PRODUCT)
            if fee is None:
                return None
            if market == SPOT:
                ec2 = self._spot(instance_type, zone, at)
            else:
                ec2 = self._listed("AmazonEC2", instance_type, EC2_PRODUCT)
        except (ValueError, TypeError, AttributeError, KeyError):  # a list that is written in another way than today
            return None
        return None if ec2 is None else ec2 + fee

    def _listed(self, service: str, instance_type: str, product: Mapping[str, str]) -> float | None:
        """The list price. Of several, which there should not be, the highest: an estimate had better not be too low."""
        filters = {"instanceType": instance_type, "regionCode": self._region(), **product}
        pages = self._pages(
            "pricing",
            "get_products",
            ServiceCode=service,
            FormatVersion="aws_v1",
            Filters=[{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in filters.items()],
        )
        found = [price for page in pages for text in page.get("PriceList", []) for price in _hourly_prices(text)]
        return max(found, default=None)

    def _spot(self, instance_type: str, zone: str, at: datetime) -> float | None:
        """The spot price that held at a time; where the zone is not known, the highest of all zones."""
        where = {"AvailabilityZone": zone} if zone else {}
        pages = self._pages(
            "ec2",
            "describe_spot_price_history",
            InstanceTypes=[instance_type],
            ProductDescriptions=["Linux/UNIX"],
            StartTime=at,  # with both the same, EC2 answers with the last change before
            EndTime=at,
            **where,
        )
        prices = [float(entry["SpotPrice"]) for page in pages for entry in page.get("SpotPriceHistory", [])]
        return max(prices, default=None)

    def _pages(self, service: str, operation: str, **request: Any) -> Iterator[dict[str, Any]]:
        if service in self._silent or not partition_of(self._region()).prices_in:
            return
        token: dict[str, Any] = {}
        try:
            for _ in range(MAX_PAGES):
                page = self._aws.call(service, operation, **request, **token)
                yield page
                if not page.get("NextToken"):
                    return
                token = {"NextToken": page["NextToken"]}
        except AwsError:
            self._silent.add(service)

    def _region(self) -> str:
        try:
            return self._aws.region
        except AwsError:
            self._silent.add("pricing")
            return ""


def _hourly_prices(text: str) -> Iterator[float]:
    """The prices per hour in USD, above 0, of a product as the price list writes it. In China there are none in USD."""
    for term in json.loads(text).get("terms", {}).get("OnDemand", {}).values():
        for dimension in term.get("priceDimensions", {}).values():
            price = float(dimension.get("pricePerUnit", {}).get("USD", 0))
            if price > 0 and str(dimension.get("unit", "")).lower() in ("hrs", "hours"):
                yield price
