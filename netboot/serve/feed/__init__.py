"""The feed: the room as panels follow it, and the orders that they give."""
