"""Look up hourly prices of instances in AWS's price lists, without making anyone wait."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
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
    """USD per instance and hour in a region: EC2's On-Demand or Spot price plus EMR's fee, which is the same for both.

    None if AWS has no price, does not answer, or lists none in USD (China, GovCloud). A service that refused or did not
    answer is not asked again.
    """

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._silent: set[str] = set()
        self._serverless: dict[tuple[str, str], float] | None = None

    def usd_per_hour(self, instance_type: str, market: str, zone: str, at: datetime) -> float | None:
        """Return the price. market: `spot`, or anything else for On-Demand. zone, at: the availability zone (empty if
        unknown) and the time of the Spot price."""
        try:
            fee = self._listed("ElasticMapReduce", instance_type, EMR_PRODUCT)
            if fee is None:
                return None
            if market == SPOT:
                ec2 = self._spot(instance_type, zone, at)
            else:
                ec2 = self._listed("AmazonEC2", instance_type, EC2_PRODUCT)
        except (ValueError, TypeError, AttributeError, KeyError):  # the list has another format than today
            return None
        return None if ec2 is None else ec2 + fee

    def usd_of_serverless(self, resource: str, architecture: str) -> float | None:
        """Return the price of an hour of EMR Serverless. resource: vCPU, memory (a GB) or storage (a GB)."""
        if self._serverless is None:
            try:
                self._serverless = dict(self._serverless_prices())
            except (ValueError, TypeError, AttributeError, KeyError):  # the list has another format than today
                self._serverless = {}
        return self._serverless.get((resource, architecture))

    def _serverless_prices(self) -> Iterator[tuple[tuple[str, str], float]]:
        """Yield prices by resource and architecture, which the names of usage types say: ...-ARM-vCPUHours."""
        usage_type = {"Type": "CONTAINS", "Field": "usagetype", "Value": "EMR-SERVERLESS"}
        of_region = {"Type": "TERM_MATCH", "Field": "regionCode", "Value": self._region()}
        pages = self._pages(
            "pricing",
            "get_products",
            ServiceCode="ElasticMapReduce",
            FormatVersion="aws_v1",
            Filters=[usage_type, of_region],
        )
        for text in (text for page in pages for text in page.get("PriceList", [])):
            name = str(json.loads(text)["product"]["attributes"]["usagetype"]).lower()
            resource = next((told for told in ("vCPU", "memory", "storage") if told.lower() in name), "")
            architecture = "ARM64" if "arm" in name else "X86_64"
            for price in _hourly_prices(text, ("hrs", "hours", "vcpu-hours", "gb-hours", "hour")):
                yield (resource, architecture), price

    def _listed(self, service: str, instance_type: str, product: Mapping[str, str]) -> float | None:
        """Return the list price; if there are several, which is unexpected, the highest."""
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
        """Return the Spot price at a time; without a zone, the highest of all zones."""
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
        try:
            yield from islice(self._aws.pages(service, operation, **request), MAX_PAGES)
        except AwsError:
            self._silent.add(service)

    def _region(self) -> str:
        try:
            return self._aws.region
        except AwsError:
            self._silent.add("pricing")
            return ""


def listed_prices(aws: Aws) -> PriceList:
    """Return AWS's price lists. All calls together may take about 10 seconds; a price that does not arrive is
    unknown."""
    return PriceList(Aws(aws.region, aws.clock, PRICES_WITHIN_SECONDS))


def _hourly_prices(text: str, units: Sequence[str] = ("hrs", "hours")) -> Iterator[float]:
    """Yield a product's prices per hour in USD above 0. Products in China have none."""
    for term in json.loads(text).get("terms", {}).get("OnDemand", {}).values():
        for dimension in term.get("priceDimensions", {}).values():
            price = float(dimension.get("pricePerUnit", {}).get("USD", 0))
            if price > 0 and str(dimension.get("unit", "")).lower() in units:
                yield price
