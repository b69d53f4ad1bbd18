"""What a person sees in a browser, with `dagster dev` and an emulated EMR Serverless."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from rehearsal import until

from tests.browser.conftest import House, opened
from tests.browser.visitor import Visitor
from tests.serverless_env import ROLE

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.extended


@pytest.fixture(scope="module")
def house(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    settings = {"EMR_PIPELINES_TARGET": "emr-serverless", "EMR_PIPELINES_EXECUTION_ROLE": ROLE}
    with opened(chromium, tmp_path_factory.mktemp("serverless"), settings) as found:
        yield found


def test_two_assets_are_materialized_by_job_runs_and_their_programs_are_heard(visitor: Visitor, house: House) -> None:
    visitor.opens_the_graph()
    visitor.materializes("input_text", "word_counts")
    visitor.sees_event("application", "Created application")
    visitor.sees_event("Reading", "Reading 2 files")
    visitor.sees_event("Counting", "Counting the words of 2 files")
    visitor.sees_event("billed", "was billed for")
    visitor.sees_the_run("Success")
    assert list(house.job_runs().values()) == ["SUCCESS", "SUCCESS"]
    assert house.clusters() == {}


def test_a_run_that_is_terminated_cancels_its_job_run(visitor: Visitor, house: House) -> None:
    before = set(house.job_runs())
    visitor.launches("pi_job", "{ops: {pi_estimates: {config: {samples: [1000000, 200000000000], partitions: 64}}}}")
    visitor.sees_event("monte_carlo", "monte_carlo with 1,000,000 samples")
    visitor.sees_the_run("Started")
    (job_run,) = set(house.job_runs()) - before
    visitor.terminates_the_run()
    until(lambda: house.job_runs()[job_run] == "CANCELLED")
