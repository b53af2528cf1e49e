"""Where pages are kept: one module for each kind of store, called as the kind is."""
