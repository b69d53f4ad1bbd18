"""A program is a function: the test calls it."""

from pathlib import Path

from emr_pipelines import LocalSparkRunner
from sales.revenue import RevenueParams, daily_revenue


def test_an_order_counts_as_it_was_last_seen(tmp_path: Path) -> None:
    seen = ["a,2026-01-01,CH,2,1.50,open,2026-01-01 08:00:00", "a,2026-01-01,CH,3,1.50,paid,2026-01-01 09:00:00", "a,"]
    (tmp_path / "orders.csv").write_text("\n".join(["order_id,day,country,quantity,unit_price,state,seen", *seen]))
    spark = LocalSparkRunner(master="local[1]", spark_config={"spark.sql.shuffle.partitions": "1"}).session()
    result = daily_revenue(spark, RevenueParams(f"{tmp_path}/orders.csv", f"{tmp_path}/out"))
    assert (result.orders, result.broken_lines, result.revenue) == (1, 1, 4.5)
