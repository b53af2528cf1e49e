"""The control plane: DHCP, TFTP and HTTP around one room, and what starts them."""
