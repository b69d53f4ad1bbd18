"""The manual's pages, and what generates the parts of them that the code knows."""
