"""DHCP and PXE: codecs, the decision on each answer, server and client."""
