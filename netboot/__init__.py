"""netboot: boots a room of diskless PCs and gives them network swap before their userland starts."""

# Release 0.1.0 looks up names here before it lets this one take over; netboot/cli/former has them.
__path__.append(f"{__path__[0]}/cli/former")

__version__ = "0.2.0"
