"""What is sent to a cluster and what comes back: code, wheels, inputs, the job and its identity, the live log."""
