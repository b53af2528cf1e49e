"""An installed server, a classroom of old PCs over SSH, and whether a server is well."""
