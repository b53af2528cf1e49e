"""All attacks at once, while a room works: ``make attack``. See docs/security.md."""
