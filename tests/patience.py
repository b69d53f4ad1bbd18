"""How long tests wait for threads, processes and servers. Only a hanging test takes this long."""

HUNG_SECONDS = 900.0
