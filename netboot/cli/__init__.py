"""The command: one module for each group of verbs, and the texts that they print."""
