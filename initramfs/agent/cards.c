/* The network cards of this PC, as the kernel lists them over netlink (rtnetlink(7)). An ioctl(2) would need
 * their numbers, which grow with each card that programs make.
 *
 * The numbers are the kernel's ABI. They are written out here because musl's headers lack them. */
#include "cards.h"
#include "dhcp.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NETLINK_ROUTE 0
enum { NEW_LINK = 16, GET_LINK = 18, REQUEST_ALL = 0x301, ATTRIBUTE_ADDRESS = 1 };
#define LINK_BYTES 16 /* struct ifinfomsg; the attributes follow */
#define MOST_BYTES 8192 /* of an answer to a program that has read none before */
#define ALIGN4(length) (((length) + 3u) & ~3u)

struct head {
    uint32_t length;
    uint16_t type, flags;
    uint32_t sequence, port;
};
struct attribute {
    uint16_t length, type;
};

/* Return whether the `length` bytes about a card say that it has the address `mac`. */
static int has_address(const uint8_t *link, size_t length, const uint8_t *mac)
{
    struct attribute attribute;

    for (size_t at = LINK_BYTES; at + sizeof attribute <= length; at += ALIGN4(attribute.length)) {
        memcpy(&attribute, link + at, sizeof attribute);
        if (attribute.length < sizeof attribute || attribute.length > length - at)
            return 0;
        if (attribute.type == ATTRIBUTE_ADDRESS && attribute.length == sizeof attribute + MAC_BYTES)
            return memcmp(link + at + sizeof attribute, mac, MAC_BYTES) == 0;
    }
    return 0;
}

/* Return 1 if one of the answers is a card with this address, 0 if none is, -1 if they are the last. */
static int search(const uint8_t *answers, size_t length, const uint8_t *mac)
{
    struct head head;

    for (size_t at = 0; at + sizeof head <= length; at += ALIGN4(head.length)) {
        memcpy(&head, answers + at, sizeof head);
        if (head.type != NEW_LINK || head.length < sizeof head || head.length > length - at)
            return -1;
        if (has_address(answers + at + sizeof head, head.length - sizeof head, mac))
            return 1;
    }
    return 0;
}

int card_is_own(const uint8_t *mac)
{
    struct {
        struct head head;
        uint8_t link[LINK_BYTES];
    } question = {{sizeof question, GET_LINK, REQUEST_ALL, 0, 0}, {0}};
    uint8_t answers[MOST_BYTES];
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), found = 0;
    ssize_t length = fd < 0 ? -1 : send(fd, &question, sizeof question, 0);

    while (length > 0 && found == 0) {
        length = recv(fd, answers, sizeof answers, MSG_DONTWAIT);
        found = length > 0 ? search(answers, (size_t)length, mac) : -1;
    }
    if (fd >= 0)
        close(fd);
    return found == 1;
}
