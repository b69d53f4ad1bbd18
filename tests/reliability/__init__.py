"""Tests of the two guarantees: no cluster outlives its work, and no published data is lost."""
