"""What the shop earns."""
