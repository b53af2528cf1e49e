"""A storm: a room of PCs that are only played, to see how long a real one would take."""
