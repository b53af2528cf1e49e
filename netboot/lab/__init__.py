"""PCs that are not there: virtual ones (QEMU, libvirt) and played ones (storm)."""
