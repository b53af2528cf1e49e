"""Tests of netboot. Folders mirror the package; vm, interop, fuzz and support are beside it."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
