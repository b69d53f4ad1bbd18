"""Jobs, schedules and sensors; all are stopped until somebody starts them."""
