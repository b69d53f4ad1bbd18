"""PySpark programs as Dagster assets, on this machine or on a transient Amazon EMR cluster."""
