"""Many clusters with many steps, polled by many clients."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

from tests.emulator.conftest import Rehearsal, client, step

CLUSTERS = 200
STEPS_EACH = 5
BYTES_PER_STEP = 20_000  # generous: a step and its share of its cluster


def test_200_clusters_with_1000_steps_poll_without_error_in_bounded_memory(rehearsal: Rehearsal) -> None:
    tracemalloc.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            ids = list(pool.map(lambda _: rehearsal.launch(*[step()] * STEPS_EACH), range(CLUSTERS)))
            clients = [client(rehearsal.emulator, "emr") for _ in range(8)]

            def poll(number: int) -> tuple[str, int]:
                emr = clients[number % 8]
                state = emr.describe_cluster(ClusterId=ids[number])["Cluster"]["Status"]["State"]
                steps = emr.list_steps(ClusterId=ids[number])["Steps"]
                return state, sum(found["Status"]["State"] == "COMPLETED" for found in steps)

            before, _ = tracemalloc.get_traced_memory()
            for _ in range(3):
                rehearsal.advance(120)
                assert len(list(pool.map(poll, range(CLUSTERS)))) == CLUSTERS
            assert set(pool.map(poll, range(CLUSTERS))) == {("WAITING", STEPS_EACH)}
            pages = rehearsal.emr.get_paginator("list_clusters").paginate()
            listed = [found["Id"] for page in pages for found in page["Clusters"]]
            assert listed == [cluster.id for cluster in reversed(rehearsal.emulator.clusters())]
            after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < CLUSTERS * STEPS_EACH * BYTES_PER_STEP
