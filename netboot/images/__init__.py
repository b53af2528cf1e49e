"""Builds of what PCs load: kernel, initramfs, media, and the packages they are made of."""
