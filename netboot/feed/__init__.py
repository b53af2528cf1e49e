"""The feed of a server: rows, events and figures of its room, as a stream of lines; pure."""
