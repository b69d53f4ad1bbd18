"""What the shop earned, by day and country, from the orders as it exports them; and where most of it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

EXPORT = (
    "order_id STRING, day DATE, country STRING, quantity INT, unit_price DECIMAL(12, 2), state STRING, seen TIMESTAMP"
)


@dataclass(frozen=True)
class RevenueParams:
    orders: str
    output: str
    unpaid: Annotated[tuple[str, ...], "States of orders that bring nothing."] = ("cancelled", "refunded")


@dataclass(frozen=True)
class RevenueResult:
    row_count: int
    lines: int
    broken_lines: int
    orders: int
    paid_orders: int
    revenue: float


def daily_revenue(spark: SparkSession, params: RevenueParams) -> RevenueResult:
    """Paid orders and revenue by day and country. An order counts as it was last seen; broken lines are left out."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F  # noqa: N812 (as everybody calls it)

    lines = spark.read.csv(
        params.orders, schema=f"{EXPORT}, broken STRING", header=True, columnNameOfCorruptRecord="broken"
    ).cache()
    total, broken = lines.count(), lines.filter("broken IS NOT NULL").count()
    if total == broken:
        raise ValueError(f"There is no order in {params.orders}; {broken} lines are broken.")
    last = Window.partitionBy("order_id").orderBy(F.desc("seen"))
    orders = lines.filter("broken IS NULL").withColumn("age", F.row_number().over(last)).filter("age = 1")
    table = (
        orders.filter(~F.col("state").isin(*params.unpaid))
        .groupBy("day", "country")
        .agg(F.count("*").alias("orders"), F.sum(F.col("quantity") * F.col("unit_price")).alias("revenue"))
        .withMetadata("country", {"comment": "ISO 3166, two letters."})
        .withMetadata("revenue", {"comment": "In euros."})
    )
    table.coalesce(1).sortWithinPartitions("day", "country").write.mode("overwrite").parquet(params.output)
    written = spark.read.parquet(params.output).agg(
        F.count("*").alias("rows"), F.sum("orders").alias("orders"), F.sum("revenue").alias("revenue")
    )
    (row,) = written.collect()
    return RevenueResult(row["rows"], total, broken, orders.count(), row["orders"] or 0, float(row["revenue"] or 0))


def few_lines_are_broken(result: RevenueResult) -> tuple[bool, str]:
    """At most one line in a hundred could not be read."""
    return result.broken_lines <= result.lines / 100, f"{result.broken_lines:,} of {result.lines:,} lines are broken."


def something_was_sold(result: RevenueResult) -> bool:
    """There is revenue."""
    return result.revenue > 0


@dataclass(frozen=True)
class BestParams:
    revenue: str
    top: Annotated[int, "How many countries."] = 3


@dataclass(frozen=True)
class Country:
    country: Annotated[str, "ISO 3166, two letters."]
    revenue: Annotated[float, "In euros, of all days."]


@dataclass(frozen=True)
class BestResult:
    countries: tuple[Country, ...]


def best_countries(spark: SparkSession, params: BestParams) -> BestResult:
    """The countries that bought most."""
    from pyspark.sql import functions as F  # noqa: N812

    found = spark.read.parquet(params.revenue).groupBy("country").agg(F.sum("revenue").alias("revenue"))
    rows = found.orderBy(F.desc("revenue"), "country").limit(params.top).collect()
    return BestResult(tuple(Country(row["country"], float(row["revenue"])) for row in rows))
