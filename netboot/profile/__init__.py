"""The YAML file that describes a room, read into a frozen ``Profile``; the names its keys may use."""
