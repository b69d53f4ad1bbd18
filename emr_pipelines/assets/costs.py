"""The asset spark_costs: a ledger of clusters and job runs by day, run and asset, with a budget."""

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from emr_pipelines import charts, environment
from emr_pipelines.assets.publication import (
    OWNERS,
    AssetConfig,
    AssetEvents,
    code_version,
    mistakes_as_failures,
    pictures,
    publish,
)
from emr_pipelines.costs.ledger import EMR, EMR_SERVERLESS, LedgerEntry
from emr_pipelines.runners.ledger import CostLedger
from emr_pipelines.storage import Storage

if TYPE_CHECKING:  # it takes half a second to import
    import pyarrow as pa

TABLE = "costs.parquet"
SHOWN_ROWS = 50
SHOWN_DAYS = 30
HOUR_SECONDS = 3600
CHECKED_DAYS = 2  # today and yesterday; older days have been checked
ASSET = dg.TableColumn("asset", "string", description="The asset whose steps ran; op:name for an op without one.")
USD = dg.TableColumn("usd", "double", description="About what it cost; null where a price is not known.")
SECONDS = dg.TableColumn("instance_seconds", "double", description="Billed, the cluster's idle time included.")
HOURS = dg.TableColumn("instance_hours", "double", description="Billed, the cluster's idle time included.")
IDLE = dg.TableColumn("idle_share", "double", description="Of what was billed; null if the cluster was not up.")
FACTS = [
    dg.TableColumn("day", "date", description="The day, in UTC."),
    dg.TableColumn("job", "string", description="The run's job; empty when the run is not known here."),
    dg.TableColumn("final", "boolean", description="The cluster had ended, so this will not change."),
    dg.TableColumn("service", "string", description="EMR, or EMR Serverless."),
    dg.TableColumn("run_id", "string", description="The Dagster run; empty where no step ran, or it is not known."),
    dg.TableColumn("billed_id", "string", description="The EMR cluster, or the job run on EMR Serverless."),
]
VCPU = dg.TableColumn("vcpu_hours", "double", description="Billed by EMR Serverless; 0 for a cluster.")
COLUMNS = dg.TableSchema(columns=[ASSET, USD, SECONDS, IDLE, VCPU, *FACTS])
LATEST = dg.TableSchema(columns=[ASSET, USD, HOURS, IDLE, VCPU, *FACTS])
RUNS = dg.TableColumn("runs", "int", description="Runs that used a cluster for it.")
BY_ASSET = dg.TableSchema(columns=[ASSET, USD, HOURS, IDLE, VCPU, RUNS])
Row = dict[str, Any]
OF_OLD_TABLES = {"service": EMR, "vcpu_hours": 0.0}  # which had clusters only, in a column cluster_id


class SparkCostsConfig(AssetConfig):
    """The limits of the checks."""

    daily_budget_usd: float | None = Field(
        default=None,
        ge=0,
        description="The check daily_budget fails above so many USD a day. null: EMR_PIPELINES_DAILY_BUDGET_USD, or "
        "else there is no budget. For example 25.0.",
    )
    most_idle_share: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="The check idle_share fails when clusters idled for more than this share of a day's instance time; "
        "0 to 1. null: EMR_PIPELINES_MOST_IDLE_SHARE, or else 0.5. For example 0.3.",
    )


@dg.asset(
    group_name="operations",
    kinds={"parquet", "emr"},
    owners=OWNERS,
    tags={"domain": "operations"},
    code_version=code_version(__name__),
    description="What this deployment's EMR clusters and job runs on EMR Serverless cost: a row for each day, cluster "
    "or job run, run and asset. AWS is asked for those of the last 30 days, so those of killed runs are in it; older "
    "rows are kept from version to version. An estimate: EBS volumes, S3, traffic and savings plans are not in it.",
    metadata={"dagster/column_schema": COLUMNS},
    check_specs=[
        dg.AssetCheckSpec(
            "idle_share", asset="spark_costs", description="Clusters did not idle for too much of the billed time."
        ),
        dg.AssetCheckSpec("daily_budget", asset="spark_costs", description="No day cost more than its budget."),
    ],
)
def spark_costs(
    context: dg.AssetExecutionContext, config: SparkCostsConfig, ledger: CostLedger, storage: Storage
) -> AssetEvents:
    with (
        mistakes_as_failures(),
        storage.new_version(context.asset_key, context.run.run_id) as version,
    ):
        budget = environment.daily_budget_usd() if config.daily_budget_usd is None else config.daily_budget_usd
        most_idle = environment.most_idle_share() if config.most_idle_share is None else config.most_idle_share
        before = storage.latest(context.asset_key)
        known = rows_of(storage.read(context.asset_key, before.version, TABLE)) if before else []
        rows = with_jobs(context.instance, ledger.entries(entries_of(known)), known)
        if not rows:
            context.log.info(
                "There is nothing to pay for: no cluster or job run of this deployment is known, or programs run here."
            )
        table = as_bytes(rows)
        storage.write(context.asset_key, version, TABLE, table)
        today = datetime.now(timezone.utc).date()
        checks = check_spark_costs(rows, today, budget, most_idle)
        yield from publish(
            context,
            storage,
            version,
            blake2b(table, digest_size=16).hexdigest(),
            checks,
            _metadata(context, rows, today),
        )


def check_spark_costs(
    rows: Sequence[Row], today: date, budget: float | None, most_idle: float
) -> list[dg.AssetCheckResult]:
    """Check that today's and yesterday's clusters were busy and within the budget."""
    days = [today - timedelta(days=back) for back in range(CHECKED_DAYS)]
    of_day = {day: [row for row in rows if row["day"] == day] for day in days}
    return [_idle_share_check(of_day, most_idle), _daily_budget_check(of_day, budget)]


def _idle_share_check(of_day: Mapping[date, Sequence[Row]], most: float) -> dg.AssetCheckResult:
    """Check the idle share of each day. Also fails for a day on which clusters were billed and never came up."""
    said, good = [], True
    for day, rows in of_day.items():
        share = idle_share(rows)
        if share is not None:
            said.append(f"{day}: {100 * share:.0f} %")
            good = good and share <= most
        elif any(row["final"] and row["instance_seconds"] for row in rows):
            said.append(f"{day}: not known, no cluster came up and {_hours(rows):,.1f} instance hours were billed")
            good = False
    return _warning("idle_share", good, f"{'; '.join(said) or 'No cluster was up'}; allowed: {100 * most:.0f} %")


def _daily_budget_check(of_day: Mapping[date, Sequence[Row]], budget: float | None) -> dg.AssetCheckResult:
    """Check the cost of each day. With a budget, also fails for a day with an unknown price."""
    said, good = [], True
    for day, rows in of_day.items():
        unknown = sum(row["usd"] is None for row in rows)
        usd = math.fsum(row["usd"] or 0.0 for row in rows)
        at_least = f"at least {usd:,.2f} USD, and {unknown} of {len(rows)} rows without a known price"
        said.append(f"{day}: " + (at_least if unknown else f"{usd:,.2f} USD"))
        good = good and (budget is None or (usd <= budget and not unknown))
    unpriced = any(row["usd"] is None for rows in of_day.values() for row in rows)
    said.append("there is no budget" if budget is None else f"the budget is {budget:,.2f} USD a day")
    how = ". Give the runner `prices`, for instance {'m5.xlarge': 0.24}, to have all of it judged." if unpriced else ""
    return _warning("daily_budget", good, "; ".join(said) + how)


def _warning(name: str, passed: bool, description: str) -> dg.AssetCheckResult:
    warn = dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(check_name=name, passed=passed, severity=warn, description=description)


def _hours(rows: Sequence[Row]) -> float:
    return math.fsum(row["instance_seconds"] for row in rows) / HOUR_SECONDS


def idle_share(rows: Sequence[Row]) -> float | None:
    """Return the idle share of the rows' instance time; None if no cluster was up."""
    seconds: float = sum(row["instance_seconds"] for row in rows)
    if not seconds or all(row["idle_share"] is None for row in rows):
        return None
    idle: float = sum((row["idle_share"] or 0) * row["instance_seconds"] for row in rows)
    return idle / seconds


def total_usd(rows: Sequence[Row]) -> float | None:
    """Return the total; None if one of the prices is unknown."""
    costs = [row["usd"] for row in rows]
    return None if None in costs else sum(costs)


def with_jobs(instance: dg.DagsterInstance, entries: "Sequence[LedgerEntry]", known: Sequence[Row]) -> list[Row]:
    """Return the rows of the table. The job of a known run is kept, because runs are deleted before their costs."""
    jobs = {row["run_id"]: row["job"] for row in known if row["job"]}
    for run_id in {entry.run_id for entry in entries if entry.run_id} - jobs.keys():
        run = instance.get_run_by_id(run_id)
        jobs[run_id] = run.job_name if run else ""
    return [{column.name: _cell(entry, column.name, jobs) for column in COLUMNS.columns} for entry in entries]


def entries_of(rows: Sequence[Row]) -> list[LedgerEntry]:
    if not rows:
        return []
    return [LedgerEntry(**{name: value for name, value in row.items() if name != "job"}) for row in rows]


def by_asset(rows: Sequence[Row]) -> list[Row]:
    """Return what each asset cost, the most expensive first."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["asset"], []).append(row)
    sums: list[Row] = [
        {
            "asset": asset,
            "usd": _rounded(total_usd(mine), 4),
            "instance_hours": _rounded(_hours(mine), 2),
            "idle_share": _rounded(idle_share(mine), 4),
            "vcpu_hours": _rounded(math.fsum(row["vcpu_hours"] for row in mine), 2),
            "runs": len({row["run_id"] for row in mine}),
        }
        for asset, mine in found.items()
    ]
    return sorted(sums, key=lambda row: (-(row["usd"] or 0), -row["instance_hours"], row["asset"]))


def _metadata(context: dg.AssetExecutionContext, rows: Sequence[Row], today: date) -> dict[str, Any]:
    shown = [row for row in rows if row["day"] > today - timedelta(days=SHOWN_DAYS)]
    yesterday = [row for row in rows if row["day"] == today - timedelta(days=1)]
    numbers = {
        "yesterday_clusters": len({row["billed_id"] for row in yesterday if row["service"] == EMR}),
        "yesterday_job_runs": len({row["billed_id"] for row in yesterday if row["service"] == EMR_SERVERLESS}),
        "yesterday_instance_hours": round(_hours(yesterday), 2),
        "yesterday_usd": total_usd(yesterday),
        "yesterday_idle_share": idle_share(yesterday),
    }
    return {
        **(pictures(context, by_day=lambda: charts.daily_costs(*_by_day(shown))) if shown else {}),
        "by_asset": dg.MetadataValue.table([dg.TableRecord(row) for row in by_asset(shown)], schema=BY_ASSET),
        "latest": dg.MetadataValue.table(
            [dg.TableRecord(_printed(row)) for row in shown[: -SHOWN_ROWS - 1 : -1]], schema=LATEST
        ),
        "dagster/row_count": len(rows),
        **{name: number for name, number in numbers.items() if number is not None},
    }


def _by_day(rows: Sequence[Row]) -> tuple[list[date], list[float], list[float], str]:
    """Return the days, the busy and the idle part of each, and the unit."""
    days = sorted({row["day"] for row in rows})
    priced = total_usd(rows) is not None
    worked, idle = [], []
    for day in days:
        of_day = [row for row in rows if row["day"] == day]
        sums = [row["usd"] if priced else _hours([row]) for row in of_day]
        idled = sum((row["idle_share"] or 0) * amount for row, amount in zip(of_day, sums, strict=True))
        worked.append(sum(sums) - idled)
        idle.append(idled)
    return days, worked, idle, "USD" if priced else "instance hours"


def _printed(row: Row) -> Row:
    shown = {
        **row,
        "day": str(row["day"]),
        "instance_hours": _rounded(_hours([row]), 2),
        "vcpu_hours": _rounded(row["vcpu_hours"], 3),
    }
    return {column.name: shown[column.name] for column in LATEST.columns}


def _rounded(number: float | None, digits: int) -> float | None:
    return None if number is None else round(number, digits)


def _cell(entry: "LedgerEntry", column: str, jobs: Mapping[str, str]) -> Any:
    return jobs.get(entry.run_id, "") if column == "job" else getattr(entry, column)


def _schema() -> "pa.Schema":
    import pyarrow as pa

    types = {"date": pa.date32(), "string": pa.string(), "double": pa.float64(), "boolean": pa.bool_()}
    return pa.schema([(column.name, types[column.type]) for column in COLUMNS.columns])


def as_bytes(rows: Sequence[Row]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=_schema()), file)
    return bytes(file.getvalue())


def rows_of(data: bytes) -> list[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[Row] = pq.read_table(pa.BufferReader(data)).to_pylist()
    return [{**OF_OLD_TABLES, "billed_id": row.pop("cluster_id", ""), **row} for row in rows]
