"""``netboot.services`` of release 0.1.0, whose running server imports it before it upgrades itself.

Since 0.2.0 a server runs ``netboot can-serve`` instead, so this goes with 0.3.0.
"""

from netboot.serve.services import Services

__all__ = ["Services"]
