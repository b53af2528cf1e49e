"""PCs for trials: virtual PCs (QEMU, libvirt) and played PCs (storm)."""
