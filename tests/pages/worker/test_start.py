"""A page worker has all it needs before it gives up its rights."""

import subprocess
import sys

import pytest

from netboot.profile.stores import BY_NAME

START = """
import os, sys
from netboot.host import privileges
from netboot.pages.worker import worker

def tell():
    print(*sys.modules, flush=True)
    os._exit(0)

privileges.drop_all = tell
worker.main(0)
"""


@pytest.mark.system
def test_the_stores_are_loaded_while_a_clone_in_a_private_home_can_be_read() -> None:
    """Without capabilities root cannot read /home/teacher of mode 0700 (Debian 13's default)."""
    done = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, check=True)
    wanted = {f"netboot.pages.stores.{kind}" for kind in (*BY_NAME, "image")}
    assert wanted <= set(done.stdout.split())
