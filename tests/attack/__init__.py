"""Attacks that netboot withstands, each tried the way it was done. One module for each door."""
