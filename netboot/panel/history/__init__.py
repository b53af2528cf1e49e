"""Boots, samples, troubles and orders in SQLite or PostgreSQL. No part of the panel waits for the database."""

from netboot.panel.history.history import History
from netboot.panel.history.pruning import Limits

__all__ = ["History", "Limits"]
