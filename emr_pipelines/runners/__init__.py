"""Where a program runs. An asset asks for `SparkRunner`; definitions.py decides which one it gets."""
