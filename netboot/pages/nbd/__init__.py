"""The NBD protocol (proto.md): codecs, handshake, transmission, and what it needs of a backing."""
