"""One cluster's life on Amazon EMR: described, launched, shared, watched, understood when it fails, and ended.

No Dagster in it: a script can use it as `runners/emr.py` does.
"""
