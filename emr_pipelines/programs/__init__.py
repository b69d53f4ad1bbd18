"""What runs on Spark: functions (spark, params) -> result that know nothing of Dagster or AWS's API.

`params` and `result` are frozen dataclasses of JSON types, so that a program can be called with a session in a test
or a notebook, in-process by Dagster, or on a cluster.
"""
