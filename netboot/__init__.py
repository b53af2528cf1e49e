"""Boots a room of diskless PCs and gives each network swap before userland."""

__version__ = "0.2.0"
