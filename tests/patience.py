"""How long tests wait for threads, processes and servers. No result depends on it: only what hangs takes as long."""

HUNG_SECONDS = 900.0
