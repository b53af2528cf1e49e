"""The YAML file that describes a room, read into a frozen ``Profile``, and what its keys take."""
