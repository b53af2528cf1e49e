"""The files that PCs load: kernels, initramfs and media, built from Debian's packages."""
