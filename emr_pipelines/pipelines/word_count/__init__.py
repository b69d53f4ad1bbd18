"""Word count: ingest text, count its words. The programs run on Spark; `assets` alone knows Dagster."""
