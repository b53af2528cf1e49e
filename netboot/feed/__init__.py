"""What a server tells of its room: rows, events and figures, as a stream of lines; pure."""
