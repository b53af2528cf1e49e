"""The NBD protocol (proto.md): codecs, handshake, transmission, the interface of a page file."""
