"""``python -m netboot``."""

from typing import NoReturn

from netboot.cli.mixed import refuse


def main() -> NoReturn:
    """Run the command, unless files of another project are among ours."""
    refuse()
    from netboot.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
