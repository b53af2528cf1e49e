/* The boot port's sockets for DHCP and ARP.
 *
 * Packet sockets hear and send: they need no free port, and no firewall of the userland stops them. They
 * leave port 68 to the DHCP clients of other cards. A UDP socket is there too, for this card alone. It
 * sends to one server by the kernel's own routes. Without it the kernel would tell that server that
 * nobody hears its answer. */
#include "port.h"
#include "agent.h"
#include "dhcp.h"
#include "frame.h"
#include "say.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define ETHERNET_IPV4 0x0800
#define ETHERNET_ARP 0x0806
#define COUNT(of) (sizeof(of) / sizeof *(of))

/* Classic BPF over the packet behind the Ethernet header (linux/filter.h, bpf_common.h). */
struct instruction {
    uint16_t code;
    uint8_t yes, no; /* instructions to skip after a comparison */
    uint32_t value;
};
struct program {
    unsigned short length;
    const struct instruction *code;
};
enum { LOAD_WORD = 0x20, LOAD_HALF = 0x28, LOAD_BYTE = 0x30 };
enum { LOAD_HEADER_LENGTH = 0xb1, LOAD_HALF_BEHIND_HEADER = 0x48 };
enum { IF_EQUAL = 0x15, IF_BITS = 0x45, RETURN = 6 };

/* Linux shows packets of a VLAN that this PC is not in as those of another host (SKF_AD_PKTTYPE). */
#define UNLESS_OTHER_HOST(skipped) {LOAD_BYTE, 0, 0, 0xfffff004}, {IF_EQUAL, skipped, 0, PACKET_OTHERHOST}

static const struct instruction to_dhcp_client[] = {
    UNLESS_OTHER_HOST(8),
    {LOAD_BYTE, 0, 0, 9}, /* protocol */
    {IF_EQUAL, 0, 6, IPPROTO_UDP},
    {LOAD_HALF, 0, 0, 6}, /* offset of a fragment */
    {IF_BITS, 4, 0, 0x1fff},
    {LOAD_HEADER_LENGTH, 0, 0, 0},
    {LOAD_HALF_BEHIND_HEADER, 0, 0, 2}, /* target port */
    {IF_EQUAL, 0, 1, DHCP_CLIENT_PORT},
    {RETURN, 0, 0, 0xffff},
    {RETURN, 0, 0, 0},
};
static struct instruction from_address[] = {
    UNLESS_OTHER_HOST(3),
    {LOAD_WORD, 0, 0, 14}, /* ARP: the sender's address */
    {IF_EQUAL, 0, 1, 0},   /* the address of this PC */
    {RETURN, 0, 0, 0xffff},
    {RETURN, 0, 0, 0},
};
static const struct instruction nothing[] = {{RETURN, 0, 0, 0}};

static int set_filter(int fd, const struct instruction *code, size_t count)
{
    struct program program = {(unsigned short)count, code};

    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

static struct sockaddr_ll everybody(const struct port *port, uint16_t protocol)
{
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_halen = MAC_BYTES};

    to.sll_protocol = htons(protocol);
    to.sll_ifindex = port->index;
    memset(to.sll_addr, 0xff, MAC_BYTES);
    return to;
}

/* Open a socket for the packets of `protocol` that pass `filter`. Return -1 if that fails. */
static int open_packets(const struct port *port, uint16_t protocol, const struct instruction *filter,
                        size_t count)
{
    struct sockaddr_ll from = everybody(port, protocol);
    int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); /* 0: none before bind() */

    if (fd >= 0 && (set_filter(fd, filter, count) < 0 ||
                    bind(fd, (struct sockaddr *)&from, sizeof from) < 0)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* Open port 68 of this card. Nothing is read from it. Return -1 if that fails. */
static int open_udp(const struct port *port)
{
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_port = htons(DHCP_CLIENT_PORT)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;

    if (fd >= 0 &&
        (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, port->name, (socklen_t)strlen(port->name)) < 0 ||
         setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
         set_filter(fd, nothing, COUNT(nothing)) < 0 ||
         bind(fd, (struct sockaddr *)&from, sizeof from) < 0)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static int find(struct port *port)
{
    struct ifreq card = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), found;

    memcpy(card.ifr_name, port->name, strlen(port->name));
    found = fd >= 0 && ioctl(fd, SIOCGIFINDEX, &card) == 0;
    if (found)
        port->index = card.ifr_ifindex;
    found = found && ioctl(fd, SIOCGIFHWADDR, &card) == 0;
    if (found)
        memcpy(port->mac, card.ifr_hwaddr.sa_data, MAC_BYTES);
    if (fd >= 0)
        close(fd);
    return found;
}

int port_open(struct port *port, const char *name, uint32_t address)
{
    *port = (struct port){.name = name, .address = address, .dhcp = -1, .arp = -1, .udp = -1};
    if (strlen(name) >= IFNAMSIZ)
        return complain(USAGE, "network card '%s': expected at most %d letters", name, IFNAMSIZ - 1);
    if (!find(port))
        return complain(KERNEL_REFUSED, "network card '%s': %s", name, strerror(errno));
    from_address[3].value = ntohl(address);
    port->dhcp = open_packets(port, ETHERNET_IPV4, to_dhcp_client, COUNT(to_dhcp_client));
    port->arp = open_packets(port, ETHERNET_ARP, from_address, COUNT(from_address));
    port->udp = open_udp(port);
    if (port->dhcp < 0 || port->arp < 0)
        return complain(KERNEL_REFUSED, "network card '%s': no packet socket: %s", name,
                        strerror(errno));
    return OK;
}

void port_waits(const struct port *port, struct pollfd *waits)
{
    waits[0] = (struct pollfd){.fd = port->dhcp, .events = POLLIN};
    waits[1] = (struct pollfd){.fd = port->arp, .events = POLLIN};
}

/* Open the sockets again if the last error was that of a card that was removed. Return whether it is back. */
static int open_again(struct port *port)
{
    if ((errno != ENXIO && errno != ENODEV && errno != EBADF && errno != ENETDOWN) || !find(port))
        return 0;
    close(port->dhcp);
    close(port->arp);
    close(port->udp);
    return port_open(port, port->name, port->address) == OK;
}

static int send_to_all(const struct port *port, const uint8_t *packet, size_t length)
{
    struct sockaddr_ll all = everybody(port, ETHERNET_IPV4);

    return sendto(port->dhcp, packet, length, MSG_DONTWAIT, (struct sockaddr *)&all, sizeof all) > 0;
}

void port_send(struct port *port, const uint8_t *message, size_t length, uint32_t server,
               uint32_t source)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(DHCP_SERVER_PORT)};
    uint8_t packet[FRAME_BYTES];

    to.sin_addr.s_addr = server;
    if (server &&
        sendto(port->udp, message, length, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof to) > 0)
        return;
    length = frame_write(source, message, length, packet);
    if (!send_to_all(port, packet, length) && open_again(port))
        send_to_all(port, packet, length);
}

static void send_arp(const struct port *port, uint32_t sender)
{
    struct sockaddr_ll all = everybody(port, ETHERNET_ARP);
    uint8_t packet[ARP_BYTES];

    arp_write(port->mac, sender, port->address, packet);
    sendto(port->arp, packet, sizeof packet, MSG_DONTWAIT, (struct sockaddr *)&all, sizeof all);
}

void port_probe(const struct port *port)
{
    send_arp(port, 0);
}

void port_announce(const struct port *port)
{
    send_arp(port, port->address);
}

size_t port_receive(int fd, uint8_t *packet, size_t room)
{
    ssize_t length = recv(fd, packet, room, MSG_DONTWAIT);

    return length > 0 ? (size_t)length : 0;
}
