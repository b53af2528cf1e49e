"""The login: accounts and their passwords, delays after wrong ones, sessions of browsers."""
