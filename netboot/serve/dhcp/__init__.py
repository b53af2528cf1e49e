"""DHCP and PXE: codecs, the decision what to answer, server and client."""
