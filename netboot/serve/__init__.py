"""The control plane: DHCP, TFTP and HTTP around one room, and the code that starts them."""
