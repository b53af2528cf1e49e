"""The command: one module for each group of verbs, and what they show."""
