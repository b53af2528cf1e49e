"""The fuzz targets in Python: a module has ``one_input``, which takes any bytes.

It raises AssertionError, or lets an exception through, if the code under test does what it must
not. It keeps nothing from one input to the next, so that one file repeats what was found.
"""
