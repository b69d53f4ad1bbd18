"""Assets: from users' programs, and of clusters' costs, each with checks that run before publication."""
