"""``python -m netboot``."""

from netboot.cli.main import main

if __name__ == "__main__":
    main()
