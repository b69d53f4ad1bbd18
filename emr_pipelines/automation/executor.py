"""The executor: runs steps one after another in the run's process, unless run config says otherwise."""

import dagster as dg

# One Spark session then serves the whole run; a process per step would start one each.
in_process_by_default = dg.multi_or_in_process_executor.configured(
    lambda config: config,
    name="in_process_by_default",
    config_schema=dg.Field(
        dg.multi_or_in_process_executor.config_schema.config_type,
        default_value={"in_process": {}},
        description="in_process (the default): one step after the other, in one process; or multiprocess: a process, "
        "and on this machine a Spark session, per step, for instance {multiprocess: {max_concurrent: 2}}.",
    ),
)
