"""Where a job runs on AWS."""
