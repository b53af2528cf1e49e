"""Root images: the systems that PCs run. Definitions, builds, versions on the server, imports."""
