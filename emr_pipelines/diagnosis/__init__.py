"""Evidence in, one probable cause out. Pure: no AWS calls, no Dagster."""
