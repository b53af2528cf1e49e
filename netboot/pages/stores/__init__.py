"""The page stores: one module for each kind of store, with the name of the kind."""
