/* Packets around DHCP messages, and ARP (RFC 791, 768, 826). */
#include "frame.h"
#include "dhcp.h"

#include <arpa/inet.h>
#include <string.h>

enum { IP_HEADER = 20, UDP_HEADER = 8, UDP = 17, HOPS = 64 };
enum { TOTAL = 2, FRAGMENT = 6, TTL = 8, PROTOCOL = 9, CHECKSUM = 10, SOURCE = 12, TARGET = 16 };
enum { SENDER_MAC = 8, SENDER = 14, ASKED = 24 };

/* Ethernet, IPv4, 6 and 4 bytes: the beginning of every ARP packet that matters. */
static const uint8_t arp_begin[6] = {0, 1, 8, 0, 6, 4};

static void put16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static unsigned get16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

static unsigned sum16(const uint8_t *bytes, size_t length, unsigned sum)
{
    for (size_t at = 0; at + 1 < length; at += 2)
        sum += get16(bytes + at);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

size_t frame_write(uint32_t source, const uint8_t *message, size_t length, uint8_t *packet)
{
    uint8_t *udp = packet + IP_HEADER;
    size_t total = IP_HEADER + UDP_HEADER + length;
    unsigned sum;

    memset(packet, 0, IP_HEADER + UDP_HEADER);
    packet[0] = 0x45;
    put16(packet + TOTAL, (unsigned)total);
    packet[TTL] = HOPS;
    packet[PROTOCOL] = UDP;
    memcpy(packet + SOURCE, &source, 4);
    memset(packet + TARGET, 0xff, 4);
    put16(packet + CHECKSUM, ~sum16(packet, IP_HEADER, 0) & 0xffff);
    put16(udp, DHCP_CLIENT_PORT);
    put16(udp + 2, DHCP_SERVER_PORT);
    put16(udp + 4, (unsigned)(UDP_HEADER + length));
    memcpy(udp + UDP_HEADER, message, length);
    /* The pseudo header: both addresses, protocol and length. A message has an even length. */
    sum = sum16(packet + SOURCE, 8, UDP + (unsigned)(UDP_HEADER + length));
    sum = ~sum16(udp, UDP_HEADER + length, sum) & 0xffff;
    put16(udp + 6, sum ? sum : 0xffff);
    return total;
}

/* Sums are not checked: the card has not always made them for a packet of this machine's kernel, and the
 * message has a number that its answer must repeat. */
const uint8_t *frame_read(const uint8_t *packet, size_t length, size_t *message_length)
{
    size_t header, total;

    if (length < IP_HEADER || packet[0] >> 4 != 4)
        return NULL;
    header = (packet[0] & 15) * 4u;
    total = get16(packet + TOTAL);
    if (header < IP_HEADER || total > length || total < header + UDP_HEADER ||
        packet[PROTOCOL] != UDP || get16(packet + FRAGMENT) & 0x3fff ||
        get16(packet + header + 2) != DHCP_CLIENT_PORT)
        return NULL;
    *message_length = total - header - UDP_HEADER;
    return packet + header + UDP_HEADER;
}

void arp_write(const uint8_t *mac, uint32_t sender, uint32_t address, uint8_t *packet)
{
    memset(packet, 0, ARP_BYTES);
    memcpy(packet, arp_begin, sizeof arp_begin);
    put16(packet + sizeof arp_begin, 1); /* a request */
    memcpy(packet + SENDER_MAC, mac, MAC_BYTES);
    memcpy(packet + SENDER, &sender, 4);
    memcpy(packet + ASKED, &address, 4);
}

int arp_read(const uint8_t *packet, size_t length, const uint8_t *mac, uint32_t address,
             uint8_t *other)
{
    if (length < ARP_BYTES || memcmp(packet, arp_begin, sizeof arp_begin) != 0 ||
        memcmp(packet + SENDER, &address, 4) != 0 || memcmp(packet + SENDER_MAC, mac, MAC_BYTES) == 0)
        return 0;
    memcpy(other, packet + SENDER_MAC, MAC_BYTES);
    return 1;
}
