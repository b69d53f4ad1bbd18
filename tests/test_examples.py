"""The example packages as a user has them: a wheel in a separate environment, outside this repository.

The environment sees the packages of the one that runs the tests, so that Spark is not downloaded again. The steps of
the emulated cluster run in the latter, where the example is not.
"""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from zipfile import ZipFile

import dagster as dg
import pyarrow.parquet as pq
import pytest

from emr_emulator import Durations, Emulator, find_spark
from emr_pipelines.runners.java import find_java
from emr_pipelines.storage import Storage
from tests.patience import HUNG_SECONDS

pytestmark = pytest.mark.extended

SALES = Path(__file__).parent.parent / "examples" / "sales"
SAMPLE = SALES / "sales" / "orders"
REVENUE = dg.AssetKey("daily_revenue")
MOMENT = Durations(provisioning=1, bootstrapping=0, termination=0, log_push_interval=0.5)


class User:
    """An environment with the example, and a folder to work in."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.python, self.folder = python, folder
        (folder / "home").mkdir(parents=True)
        self.environment = {
            **os.environ,
            "DAGSTER_HOME": str(folder / "home"),
            "EMR_PIPELINES_STORAGE": str(folder / "data"),
        }

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.python), "-m", *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=HUNG_SECONDS,
        )

    def metadata(self, asset: str) -> dict[str, dg.MetadataValue]:
        with dg.DagsterInstance.from_config(str(self.folder / "home")) as instance:
            event = instance.get_latest_materialization_event(dg.AssetKey(asset))
        assert event is not None
        assert event.asset_materialization is not None
        return dict(event.asset_materialization.metadata)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the example's wheel."""
    folder = tmp_path_factory.mktemp("sales")
    # pip, unlike uv, finds hatchling by the machine's pip.conf
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, SALES], check=True)
    subprocess.run([sys.executable, "-m", "uv", "venv", "-q", "--python", sys.executable, folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    (wheel,) = folder.glob("sales-*.whl")
    install: list[str | Path] = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "-q",
        "--python",
        python,
        "--no-deps",
        wheel,
    ]
    subprocess.run(install, check=True)
    (site,) = (folder / "venv").glob("lib/python3.*/site-packages")
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (site / "ours.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in ours))
    return python


@pytest.fixture
def user(python: Path, tmp_path: Path) -> User:
    return User(python, tmp_path / "user")


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    root = tmp_path_factory.mktemp("emulator")
    with Emulator(root, durations=MOMENT, spark=find_spark("local[2]", find_java(print))) as emulator:
        yield emulator
        assert {str(cluster.state) for cluster in emulator.clusters()} == {"TERMINATED"}


def expected() -> dict[tuple[str, str], tuple[int, Decimal]]:
    """Compute the sample's orders and revenue by day and country without Spark or the program."""
    last: dict[str, dict[str, str]] = {}
    for path in sorted(SAMPLE.glob("*.csv")):
        with path.open(newline="") as file:
            for line in csv.DictReader(file):
                if line["quantity"].isdigit() and line["seen"] >= last.get(line["order_id"], line)["seen"]:
                    last[line["order_id"]] = line
    found: dict[tuple[str, str], tuple[int, Decimal]] = defaultdict(lambda: (0, Decimal(0)))
    for line in last.values():
        if line["state"] not in ("cancelled", "refunded"):
            orders, revenue = found[line["day"], line["country"]]
            amount = int(line["quantity"]) * Decimal(line["unit_price"])
            found[line["day"], line["country"]] = orders + 1, revenue + amount
    return dict(found)


def table(folder: Path) -> dict[tuple[str, str], tuple[int, Decimal]]:
    rows = pq.read_table(folder).to_pylist()
    return {(str(row["day"]), row["country"]): (row["orders"], row["revenue"]) for row in rows}


def best(of: dict[tuple[str, str], tuple[int, Decimal]]) -> list[dict[str, object]]:
    totals: dict[str, Decimal] = defaultdict(Decimal)
    for (_, country), (_, revenue) in of.items():
        totals[country] += revenue
    ranked = sorted(totals, key=lambda country: -totals[country])
    return [{"country": country, "revenue": float(totals[country])} for country in ranked[:3]]


def shown(value: dg.MetadataValue) -> list[dict[str, object]]:
    assert isinstance(value, dg.TableMetadataValue)
    return [dict(record.data) for record in value.records]


def test_its_own_test_passes(user: User) -> None:
    answer = user.run("pytest", "-q", "-p", "no:cacheprovider", str(SALES / "tests"))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "1 passed" in answer.stdout


def test_its_definitions_are_valid(user: User) -> None:
    answer = user.run("dagster", "definitions", "validate", "-m", "sales.definitions")
    assert answer.returncode == 0, answer.stderr
    assert "All code locations passed validation." in answer.stdout + answer.stderr


def test_it_runs_here(user: User) -> None:
    answer = user.run("dagster", "asset", "materialize", "-m", "sales.definitions", "--select", "*")
    assert answer.returncode == 0, answer.stderr
    published = Storage(uri=str(user.folder / "data")).require(REVENUE)
    assert table(Path(published.uri.removeprefix("file://"))) == expected()
    metadata = user.metadata("daily_revenue")
    assert metadata["dagster/row_count"].value == len(expected())
    assert metadata["broken_lines"].value == 1
    columns = metadata["dagster/column_schema"].value
    assert isinstance(columns, dg.TableSchema)
    assert [(column.name, column.description) for column in columns.columns] == [
        ("day", None), ("country", "ISO 3166, two letters."), ("orders", None), ("revenue", "In euros."),
    ]  # fmt: skip
    assert shown(user.metadata("best_countries")["countries"]) == best(expected())


def test_it_runs_on_a_cluster_that_knows_nothing_of_it(user: User, emulator: Emulator) -> None:
    objects = emulator.create_bucket("sales")
    elsewhere = subprocess.run(
        [sys.executable, "-c", "import sales"], cwd=user.folder, capture_output=True, text=True, check=False
    )
    assert "No module named 'sales'" in elsewhere.stderr  # nor do the steps, which run with this Python
    answer = user.run(
        "dagster", "job", "execute", "-m", "sales.definitions", "-j", "sales_job",
        **emulator.environment, EMR_PIPELINES_TARGET="emr", EMR_PIPELINES_BUCKET="sales", EMR_PIPELINES_STORAGE="",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert len(emulator.clusters()) == 1
    assert [str(step.state) for step in emulator.clusters()[0].steps.values()] == ["COMPLETED", "COMPLETED"]
    (latest,) = (objects / "default" / "data" / "daily_revenue").glob("*/_published.json")
    assert table(latest.parent) == expected()
    assert shown(user.metadata("best_countries")["countries"]) == best(expected())
    (archive,) = (objects / "default" / "code").glob("*.zip")
    with ZipFile(archive) as packed:
        assert {"sales/__init__.py", "sales/revenue.py"} <= set(packed.namelist())


def test_when_it_fails_the_user_s_own_line_is_shown(user: User, emulator: Emulator) -> None:
    emulator.create_bucket("nothing-sold")
    empty = user.folder / "empty.csv"
    empty.write_text("order_id,day,country,quantity,unit_price,state,seen\n")
    answer = user.run(
        "dagster", "job", "execute", "-m", "sales.definitions", "-j", "sales_job",
        **emulator.environment, EMR_PIPELINES_TARGET="emr", EMR_PIPELINES_BUCKET="nothing-sold",
        EMR_PIPELINES_STORAGE="", SALES_ORDERS=str(empty),
    )  # fmt: skip
    assert answer.returncode != 0
    source = (SALES / "sales" / "revenue.py").read_text().splitlines()
    (line,) = (number for number, text in enumerate(source, 1) if "raise ValueError" in text)
    cause = "Failure: The program raised ValueError: There is no order in "
    cause += str(empty.parent)  # its name here, not on S3
    own_line = rf'File "sales/revenue\.py", line {line}, in daily_revenue'
    assert re.search(rf"{re.escape(cause)}.*?{own_line}", answer.stderr, re.DOTALL), answer.stderr
    assert [str(step.state) for step in emulator.clusters()[-1].steps.values()] == ["FAILED"]
