"""Jobs: package a program with its code, wheels and inputs, identify it, and follow its live log."""
