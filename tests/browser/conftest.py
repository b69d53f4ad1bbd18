"""An emulated account, `dagster dev` as a user starts it, and a browser; all end with the tests."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from rehearsal import SESSION, until

from emr_emulator.processes import Supervised
from tests.browser.visitor import Visitor
from tests.patience import HUNG_SECONDS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ViewportSize

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
BUCKET = "my-bucket"
ENDING_SECONDS = 5.0  # then it is killed, because `dagster dev` takes longer
WINDOW: ViewportSize = {"width": 1440, "height": 900}
FLAGS = (
    "--no-sandbox", "--disable-gpu",  # containers have neither
    # it may connect to Dagster only
    "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip


@dataclass(frozen=True)
class House:
    """What is running: Dagster's URL, clients of the emulated services, and the folder with the source text."""

    url: str
    emr: Any
    text: Path
    serverless: Any

    def plan(self, **fault: str) -> None:
        """Inject a fault once."""
        url = f"{self.emr.meta.endpoint_url}/_emulator/faults"
        with urllib.request.urlopen(url, json.dumps(fault).encode(), timeout=HUNG_SECONDS):  # noqa: S310 (its own address)
            pass

    def clusters(self) -> dict[str, str]:
        """Return the states of all clusters, ended ones included, by id."""
        pages = self.emr.get_paginator("list_clusters").paginate()
        return {found["Id"]: found["Status"]["State"] for page in pages for found in page["Clusters"]}

    def job_runs(self) -> dict[str, str]:
        """Return the states of all job runs on EMR Serverless, by id."""
        applications = self.serverless.list_applications()["applications"]
        found = [
            run for one in applications for run in self.serverless.list_job_runs(applicationId=one["id"])["jobRuns"]
        ]
        return {run["id"]: run["state"] for run in found}

    def step_states(self, cluster_id: str) -> list[str]:
        """Oldest first."""
        found = self.emr.list_steps(ClusterId=cluster_id)["Steps"]
        return [step["Status"]["State"] for step in reversed(found)]


@contextmanager
def _running(folder: Path, environment: Mapping[str, str], *command: str) -> Iterator[Path]:
    """Run a command in the repository's root; it ends with all its children, even if this process is killed.
    Yield the file with its output."""
    folder.mkdir()
    process = Supervised([str(BIN / command[0]), *command[1:]], {**os.environ, **environment}, ROOT, folder)
    end = threading.Thread(target=process.wait)
    end.start()
    try:
        yield folder / "stdout"
    finally:
        process.tell("interrupt")
        end.join(ENDING_SECONDS)
        process.tell("kill")
        end.join()


@pytest.fixture(scope="module")
def house(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with opened(chromium, tmp_path_factory.mktemp("house"), {"EMR_PIPELINES_TARGET": "emr"}) as found:
        yield found


@contextmanager
def opened(chromium: Browser, root: Path, settings: Mapping[str, str]) -> Iterator[House]:
    """Start an emulator, and Dagster with these settings."""
    (root / "text").mkdir()
    for name in ("README.md", "ARCHITECTURE.md"):  # English, and long enough for the pictures
        shutil.copy(ROOT / name, root / "text")
    (root / "home").mkdir()
    (root / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    account = root / "emulator.env"
    emulator = ("emr-pipelines", "emulator", "--port", "0", "--bucket", BUCKET, "--env-file", str(account))
    dagster = ("dagster", "dev", "-h", "127.0.0.1", "-p", str(port := _free_port()))
    soon = ("--speed", "120", "--spark-master", "local[2]")
    with _running(root / "emulator", {}, *emulator, *soon, "--root", str(root / "account")):
        until(account.exists)
        exports = [line.removeprefix("export ").partition("=") for line in account.read_text().splitlines()]
        environment = {
            **{name: value for name, _, value in exports},
            **settings,
            "EMR_PIPELINES_BUCKET": BUCKET,
            "EMR_PIPELINES_SOURCE": str(root / "text"),
            "DAGSTER_HOME": str(root / "home"),
        }
        with _running(root / "dagster", environment, *dagster):
            url = f"http://127.0.0.1:{port}"
            until(lambda: _answers(f"{url}/server_info"))
            _welcome(chromium, url)
            emr, serverless = (
                SESSION.client(service, endpoint_url=environment["AWS_ENDPOINT_URL"], region_name="us-east-1")
                for service in ("emr", "emr-serverless")
            )
            yield House(url, emr, root / "text", serverless)


@pytest.fixture(scope="module")
def chromium(request: pytest.FixtureRequest) -> Iterator[Browser]:
    """Find the machine's chromium; Playwright's own is not downloaded."""

    def missing(what: str) -> NoReturn:
        if request.config.getoption("--browser-required"):
            pytest.fail(what)
        pytest.skip(what)

    try:
        from playwright.sync_api import expect, sync_playwright
    except ModuleNotFoundError:
        missing("Playwright is not installed; the extra 'browser' has it.")
    path = shutil.which("chromium") or missing("There is no chromium on the PATH; apt-get install chromium.")
    expect.set_options(timeout=1000 * HUNG_SECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visitor(house: House, chromium: Browser, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Visitor]:
    """A visitor that saves its last page as a picture in the test's temporary folder."""
    page = chromium.new_page(viewport=WINDOW, locale="en-GB", timezone_id="UTC")
    page.set_default_timeout(1000 * HUNG_SECONDS)
    pictures = request.config.getoption("--screenshots") or tmp_path
    pictures.mkdir(parents=True, exist_ok=True)
    yield Visitor(page, house.url, pictures)
    page.screenshot(path=tmp_path / "last.png")
    page.close()


def _welcome(chromium: Browser, url: str) -> None:
    """Dismiss Dagster's welcome dialog, which asks for an e-mail address."""
    page = chromium.new_page(viewport=WINDOW)
    page.goto(url)
    page.get_by_text("Skip", exact=True).click(timeout=1000 * HUNG_SECONDS)
    page.close()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10):  # noqa: S310 (its own address)
            return True
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
