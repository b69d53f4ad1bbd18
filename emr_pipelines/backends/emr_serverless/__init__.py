"""Programs on Amazon EMR Serverless: an application, found or created once, and a job run for each program.

No Dagster in it: a script can use it as `runners/emr_serverless.py` does.
"""
