"""What travels to a cluster with every program: the entrypoint, the driver, the codec, messages and progress.

It imports the standard library, Spark and dagster_pipes, which is all that a cluster has. A program is a function
`(spark, params) -> result`; `params` and `result` are frozen dataclasses of JSON types, so that it can be called with a
session in a test or a notebook, in-process by Dagster, or on a cluster.
"""
