"""Tables of the kernel modules and firmware in the initramfs, and of the slice for each.

Patterns are fnmatch patterns of paths below /lib/modules/VERSION/kernel, without ``.ko``; the
dependencies of a module are added automatically. In Debian's 6.1 all of drivers/net/ethernet takes
6.9 MB of a compressed initramfs and 34 MB of the client's RAM while it boots; this selection takes
a third. A PC whose network card is known gets only that card's driver (boot/slices.py).
"""

# Every PC gets these.
BASE = (
    # The swap device.
    "drivers/block/nbd",
    # USB, and keyboards for the rescue shell.
    "drivers/usb/host/xhci-pci",
    "drivers/usb/host/ehci-pci",
    "drivers/usb/host/ohci-pci",
    "drivers/usb/host/uhci-hcd",
    "drivers/hid/hid-generic",
    "drivers/hid/usbhid/usbhid",
    # zswap's pools (zbud is linked into Debian's kernel).
    "mm/z3fold",
    "mm/zsmalloc",
)

# For the features that a seat's profile requires.
FEATURES = {
    # AES itself is linked into Debian's kernel.
    "encrypt": (
        *("drivers/md/dm-crypt", "crypto/xts"),
        *("arch/x86/crypto/aesni-intel", "arch/arm64/crypto/aes-ce-blk"),
        # Adiantum, for CPUs without AES instructions.
        *("crypto/adiantum", "crypto/chacha_generic", "crypto/nhpoly1305"),
        *("arch/x86/crypto/chacha-x86_64", "arch/arm64/crypto/chacha-neon"),
        "arch/*/crypto/nhpoly1305-*",
    ),
    "mirror": ("drivers/md/raid1",),
    # zswap's compressors; lzo is linked in.
    "lz4": ("crypto/lz4",),
    "zstd": ("crypto/zstd",),
    # SHA-256 itself is linked in; these are faster.
    "verify": (
        *("drivers/md/dm-verity", "arch/x86/crypto/sha256-ssse3"),
        *("arch/arm64/crypto/sha256-arm64", "arch/arm64/crypto/sha2-ce"),
    ),
    "image": (
        *("drivers/block/loop", "fs/overlayfs/overlay", "fs/squashfs/squashfs", "fs/erofs/erofs"),
        # libcrc32c, which erofs needs, does not load without an implementation of crc32c. The kernel
        # names none as its dependency.
        "crypto/crc32c_generic",
    ),
    # Tagged frames (boot.vlan).
    "vlan": ("net/8021q/8021q",),
    # Files that a PC keeps (root.persist).
    "keep": ("fs/ext4/ext4", "crypto/crc32c_generic"),
}

# A card's driver requests the PHY driver only when it finds the PHY. So a card that has a PHY gets
# all of them.
PHYS = ("drivers/net/phy/*",)

# Every wired network card that a PC may have (less EXCLUDED).
CARDS = (
    "drivers/net/ethernet/*",
    "drivers/net/vmxnet3/vmxnet3",
    "drivers/virtio/virtio_pci",
)
# The driver of a card's bus, and the modules that it does not name itself.
COMPANIONS = {"virtio_pci": ("virtio_net",)}
# The PCI ids of such a bus (virtio-v1.2 section 4.1.2), for a kernel that has its driver built in, as
# Debian's 6.12. Its module would list them.
BUSES = {"virtio_pci": ("1af4:*",)}

# Only in the full initramfs, because iPXE gives no PCI id for these cards.
OTHERS = (
    "drivers/net/hyperv/hv_netvsc",
    "drivers/net/xen-netfront",
    "drivers/net/virtio_net",
    # Wired USB adapters; modems, phones and host-to-host cables are left out.
    "drivers/net/usb/aqc111",
    "drivers/net/usb/asix",
    "drivers/net/usb/ax88179_178a",
    "drivers/net/usb/catc",
    "drivers/net/usb/cdc_eem",
    "drivers/net/usb/cdc_ether",
    "drivers/net/usb/cdc_ncm",
    "drivers/net/usb/ch9200",
    "drivers/net/usb/dm9601",
    "drivers/net/usb/kaweth",
    "drivers/net/usb/lan78xx",
    "drivers/net/usb/mcs7830",
    "drivers/net/usb/pegasus",
    "drivers/net/usb/r8152",
    "drivers/net/usb/r8153_ecm",
    "drivers/net/usb/rtl8150",
    "drivers/net/usb/smsc75xx",
    "drivers/net/usb/smsc95xx",
    "drivers/net/usb/sr9700",
    "drivers/net/usb/sr9800",
)

INCLUDED = (*BASE, *(each for row in FEATURES.values() for each in row), *PHYS, *CARDS, *OTHERS)

EXCLUDED = (
    # PCMCIA cards have no boot ROM.
    "*_cs",
    # Data centre cards of 10 to 400 Gbit/s, by maker. mlx5_core alone has 3.9 MB.
    "drivers/net/ethernet/brocade/*",
    "drivers/net/ethernet/cavium/*",
    "drivers/net/ethernet/chelsio/*",
    "drivers/net/ethernet/cisco/*",
    "drivers/net/ethernet/emulex/*",
    "drivers/net/ethernet/huawei/*",
    "drivers/net/ethernet/mellanox/*",
    "drivers/net/ethernet/myricom/*",
    "drivers/net/ethernet/neterion/*",
    "drivers/net/ethernet/netronome/*",
    "drivers/net/ethernet/qlogic/*",
    "drivers/net/ethernet/sfc/*",
    "drivers/net/ethernet/broadcom/bnx2x/*",
    "drivers/net/ethernet/broadcom/bnxt/*",
    "drivers/net/ethernet/broadcom/cnic",  # storage offload of bnx2, not its network
    "drivers/net/ethernet/intel/i40e/*",
    "drivers/net/ethernet/intel/ice/*",
    # Virtual functions that a hypervisor passes to its guests, and cards of public clouds: these
    # machines do not boot from a classroom's network.
    "drivers/net/ethernet/intel/*vf/*",
    "drivers/net/ethernet/amazon/*",
    "drivers/net/ethernet/google/*",
    "drivers/net/ethernet/microsoft/*",
)

# The Debian packages (component non-free-firmware) that may have a firmware file, by the beginning of
# the file's name: Debian 12's first, then those into which Debian 13 split it. No package has acenic, adaptec/starfire, sun/cassini and microchip/mscc: their
# drivers start without firmware, or their cards are rare.
FIRMWARE_PACKAGES = {
    "rtl_nic/": ("firmware-realtek",),
    "bnx2/": ("firmware-bnx2",),
    "3com/": ("firmware-misc-nonfree",),
    "e100/": ("firmware-misc-nonfree", "firmware-intel-misc"),
    "kaweth/": ("firmware-misc-nonfree",),
    "tehuti/": ("firmware-misc-nonfree",),
    "tigon/": ("firmware-misc-nonfree",),
}
