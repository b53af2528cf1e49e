"""Tests of the Debian package."""
