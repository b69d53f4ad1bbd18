"""The shapes of workers, and Spark's settings for them."""

from __future__ import annotations

import pytest

from emr_emulator.serverless import workers as emulated
from emr_pipelines.backends.emr_serverless.workers import SHAPES, Worker, workers_of
from emr_pipelines.errors import InvalidValue


def test_without_settings_they_are_the_services_defaults() -> None:
    found = workers_of({})
    assert found.driver == found.executor == Worker(cores=4, memory_gb=16, disk_gb=20)
    assert found.executors == 3
    assert found.total() == {"cpu": 8, "memory_gb": 32, "disk_gb": 40}


@pytest.mark.parametrize("cores", SHAPES)
def test_the_settings_of_a_size_ask_for_that_size(cores: int) -> None:
    """The emulator, which was written apart, reads them in the same way."""
    least, most = SHAPES[cores]
    for memory in range(least, most + 1):
        worker = Worker(cores=cores, memory_gb=memory, disk_gb=100)
        conf = {**worker.conf("driver"), **worker.conf("executor")}
        assert workers_of(conf).driver == worker
        assert emulated.workers_of(conf).executor == (cores, memory, 100)


@pytest.mark.parametrize(
    ("conf", "says"),
    [
        ({"spark.driver.cores": "3"}, "spark.driver.cores is 3; allowed: 1, 2, 4, 8 or 16"),
        ({"spark.driver.cores": "many"}, "spark.driver.cores is 'many'; allowed: a whole number"),
        ({"spark.executor.memory": "40g"}, "allowed: 8 to 30 GB with 4 vCPU, overhead included; this makes 44 GB"),
        ({"spark.executor.memory": "lots"}, "allowed: a size such as 14g"),
        ({"spark.executor.memoryOverheadFactor": "x"}, "allowed: a number, such as 0.1"),
        ({"spark.executor.memory": "20g", "spark.executor.memoryOverhead": "20g"}, "this makes 40 GB"),
        ({"spark.emr-serverless.executor.disk": "10g"}, "allowed: 20g to 200g"),
        ({"spark.executor.instances": "-1"}, "spark.executor.instances is '-1'"),
    ],
)
def test_what_does_not_exist_is_refused(conf: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        workers_of(conf)
    assert says in str(refused.value)
