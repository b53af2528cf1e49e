"""TFTP (RFC 1350, 2347-2349, 7440): codecs, transfers, server and client."""
