"""What exists: the assets of the two pipelines, each with the checks that stand between it and its readers."""
