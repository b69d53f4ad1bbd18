"""The promises, and what tries to break them: no cluster outlives its work, and no published data is lost."""
