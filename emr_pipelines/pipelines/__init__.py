"""The examples: word count and Pi. Nothing in the library imports them."""
