"""HTTP: the server, its file sender, and the clients."""
