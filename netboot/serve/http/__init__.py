"""HTTP: the server, what it sends files with, and the clients of both."""
