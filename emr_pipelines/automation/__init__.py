"""When it runs: jobs, schedules and sensors, all of them stopped until somebody starts them."""
