"""``python -m netboot``."""

from netboot.cli import main

if __name__ == "__main__":
    main()
