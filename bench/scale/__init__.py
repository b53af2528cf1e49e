"""Rooms of 1,000 seats and more than one server: ``make bench-scale``."""
