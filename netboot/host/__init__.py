"""This machine: network interfaces, files, programs, privileges."""
