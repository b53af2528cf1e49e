"""TFTP, read-only: packets, the state of a transfer, the server and its workers."""
