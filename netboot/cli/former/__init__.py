"""Names that the release before this one imports, to learn whether this one starts; see ``netboot``."""
