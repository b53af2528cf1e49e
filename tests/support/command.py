"""The words behind ``python -m`` of a server that tests and benchmarks start."""

# Without a panel beside the server: another process, at which nobody looks.
SERVE = ("netboot", "serve", "--json", "--set", "http.panel=off")
