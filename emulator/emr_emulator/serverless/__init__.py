"""EMR Serverless: applications, and job runs that really run."""
