"""Pi by two methods. `estimate` runs on Spark; `assets` alone knows Dagster."""
