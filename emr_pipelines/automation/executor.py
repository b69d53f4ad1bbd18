"""How the steps of a run are executed: one after the other in the run's process, unless run config says otherwise."""

import dagster as dg

# One Spark session then serves the whole run; a process per step would start one each.
in_process_by_default = dg.multi_or_in_process_executor.configured(
    lambda config: config or {"in_process": {}},
    name="in_process_by_default",
    config_schema=dg.Field(
        {"in_process": dg.Field(dict, is_required=False), "multiprocess": dg.Field(dict, is_required=False)},
        default_value={"in_process": {}},
        description="in_process (the default), or multiprocess: a process, and a Spark session, per step.",
    ),
)
