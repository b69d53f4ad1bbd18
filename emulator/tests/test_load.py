"""Many clusters with many steps, polled by many clients."""

from __future__ import annotations

import gc
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from rehearsal import Rehearsal, client, step

CLUSTERS = 200
STEPS_EACH = 5
BYTES_PER_STEP = 6_000  # per step, with its share of the cluster and the connections
BYTES_PER_CALL = 200


@pytest.mark.extended
def test_200_clusters_with_1000_steps_poll_without_error_in_bounded_memory(rehearsal: Rehearsal) -> None:
    clients = [client(rehearsal.emulator, "emr") for _ in range(8)]
    clusters = range(CLUSTERS)
    tracemalloc.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            empty, _ = tracemalloc.get_traced_memory()
            ids = list(pool.map(lambda _: rehearsal.launch(*[step()] * STEPS_EACH), clusters))

            def poll(number: int) -> tuple[str, int]:
                emr = clients[number % 8]
                state = emr.describe_cluster(ClusterId=ids[number])["Cluster"]["Status"]["State"]
                steps = emr.list_steps(ClusterId=ids[number])["Steps"]
                return state, sum(found["Status"]["State"] == "COMPLETED" for found in steps)

            rehearsal.advance(1000)
            held = []
            for _ in range(4):
                assert set(pool.map(poll, clusters)) == {("WAITING", STEPS_EACH)}
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert min(held) - empty < CLUSTERS * STEPS_EACH * BYTES_PER_STEP
    growth = min(after - before for before, after in pairwise(held))  # a cache grows once, a leak grows each round
    assert growth < 2 * CLUSTERS * BYTES_PER_CALL
    pages = rehearsal.emr.get_paginator("list_clusters").paginate()
    listed = [found["Id"] for page in pages for found in page["Clusters"]]
    assert listed == [cluster.id for cluster in reversed(rehearsal.emulator.clusters())]
