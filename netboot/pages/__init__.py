"""The data plane: the page server, its leases, and the processes that move pages."""
