/* The verb `address`: keeps the address that a DHCP server has lent to this PC. Each PC has one such
 * process, with and without swap, so it sends the PC's figures, too.
 *
 * Root and swap hang on the address, so it is never given up, whatever a server says. Possible trouble is
 * told once: on the console, and to the boot server. */
#include "address.h"
#include "agent.h"
#include "cards.h"
#include "dhcp.h"
#include "figures.h"
#include "frame.h"
#include "news.h"
#include "port.h"
#include "renewal.h"
#include "report.h"
#include "say.h"
#include "settle.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS 10000       /* poll(2) does not count the time that the PC sleeps */
#define DEFEND_MS 10000     /* between two announcements (RFC 5227, DEFEND_INTERVAL) */
#define LAST_WORD_MS 5000   /* for the report of an end */
#define AT_ONCE 32          /* packets; reports must have their turn */
#define MAX_PACKET 1500

static struct renewal renewal;
static struct port port;
static struct told told;
static uint8_t rival[MAC_BYTES]; /* the other holder that was told last */
static int64_t rival_told, defended;

/* Return ms that also pass while the PC sleeps: a lease ends then, too. */
static int64_t lease_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static const char *dotted(uint32_t address, char *text)
{
    uint8_t bytes[4];

    memcpy(bytes, &address, sizeof bytes);
    snprintf(text, INET_ADDRSTRLEN, "%u.%u.%u.%u", bytes[0], bytes[1], bytes[2], bytes[3]);
    return text;
}

/* Report the last complaint. */
static void report_complaint(const char *stage, const char *address, const char *server)
{
    report(stage, "%s\naddress=%s%s%s", last_complaint(), address, *server ? "\nserver=" : "", server);
}

/* Return for how long the address is lent, as words; `seconds` are left. */
static const char *for_time(int64_t seconds, const char *more)
{
    static char text[40];

    snprintf(text, sizeof text, "for %lld s%s", (long long)seconds, more);
    return renewal.seconds == UINT32_MAX ? "for ever" : text;
}

static void tell(enum news news, int64_t now)
{
    static const char *const stages[NEWS] = {"", "address:held", "address:unanswered",
                                             "address:expired", "address:refused", "address:refused"};
    char address[INET_ADDRSTRLEN], server[INET_ADDRSTRLEN] = "", other[INET_ADDRSTRLEN];
    char who[48], seconds[24] = "";
    uint32_t speaker = news == FORBIDDEN || news == REPLACED ? renewal.refuser : renewal.server;
    int is_first = !told.when[HELD], troubled = told.since_held != 0;

    if (!news_is_due(&told, news, now))
        return;
    dotted(renewal.address, address);
    if (speaker)
        dotted(speaker, server);
    snprintf(who, sizeof who, speaker ? "the DHCP server %s" : "a DHCP server without an address%s",
             server);
    switch (news) {
    case HELD:
        if (troubled)
            complain(OK, "%s is lent to this PC%s, by %s", address, is_first ? "" : " again", who);
        if (renewal.seconds != UINT32_MAX)
            snprintf(seconds, sizeof seconds, "\nseconds=%u", renewal.seconds);
        report(stages[HELD], "%s is lent by %s %s\naddress=%s%s%s%s", address,
               speaker ? server : who, for_time(renewal.seconds, ""), address,
               speaker ? "\nserver=" : "", server, seconds);
        return;
    case NO_SERVER:
        if (renewal.state == ASKING)
            complain(OK, "no DHCP server answers, so nobody may know that this PC has %s", address);
        else
            complain(OK, "%s does not answer: %s is lent to this PC %s", who, address,
                     for_time((renewal.end - now) / 1000, " more"));
        break;
    case EXPIRED:
        complain(OK, "%s is lent to this PC no longer: no DHCP server lent it on; it stays in use",
                 address);
        break;
    case FORBIDDEN:
        complain(OK, "%s says that %s is not for this PC; it stays in use", who, address);
        break;
    default:
        complain(OK, "%s offers %s in place of %s, which stays in use", who,
                 dotted(renewal.offered, other), address);
    }
    report_complaint(stages[news], address, server);
}

/* Defend the address against another card that has it (RFC 5227, 2.4 (c)), and tell of it: of each card once
 * in a while, and not of many in short time. */
static void meet_rival(const uint8_t *mac, int64_t now)
{
    char address[INET_ADDRSTRLEN];
    int64_t pause = memcmp(mac, rival, MAC_BYTES) == 0 ? AGAIN_MS : AGAIN_MS / 10;
    int is_told = rival_told && now - rival_told < pause;
    int is_defended = defended && now - defended < DEFEND_MS;

    if ((is_told && is_defended) || card_is_own(mac))
        return;
    if (!is_defended) {
        defended = now;
        port_announce(&port);
    }
    if (is_told)
        return;
    memcpy(rival, mac, MAC_BYTES);
    rival_told = now;
    complain(OK, "another machine has %s, too: %02x:%02x:%02x:%02x:%02x:%02x",
             dotted(renewal.address, address), mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
    report_complaint("address:conflict", address, "");
}

static void ask(int64_t now)
{
    uint8_t message[DHCP_BYTES];
    uint32_t server;
    size_t length;

    tell(renewal_ask(&renewal, now, chance(UINT32_MAX)), now);
    length = dhcp_write(&renewal.question, message);
    server = renewal.state == RENEWING ? renewal.server : 0;
    port_send(&port, message, length, server, renewal.question.address);
    if (renewal.state == ASKING)
        port_probe(&port); /* is the address still this PC's alone? */
}

static void hear_dhcp(int64_t now)
{
    uint8_t packet[MAX_PACKET];
    struct answer answer;

    for (int count = 0; count < AT_ONCE; count++) {
        size_t length = port_receive(port.dhcp, packet, sizeof packet);
        const uint8_t *message = length ? frame_read(packet, length, &length) : NULL;

        if (!length)
            return;
        if (message && dhcp_read(message, length, &answer))
            tell(renewal_take(&renewal, &answer, now, chance(UINT32_MAX)), now);
    }
}

static void hear_arp(int64_t now)
{
    uint8_t packet[MAX_PACKET], mac[MAC_BYTES];

    for (int count = 0; count < AT_ONCE; count++) {
        size_t length = port_receive(port.arp, packet, sizeof packet);

        if (!length)
            return;
        if (arp_read(packet, length, port.mac, renewal.address, mac))
            meet_rival(mac, now);
    }
}

static int read_mac(const char *text, uint8_t *mac)
{
    for (unsigned at = 0; at < MAC_BYTES; at++) {
        char *end;

        mac[at] = (uint8_t)strtoul(text, &end, 16);
        if (end != text + 2 || *end != (at < MAC_BYTES - 1 ? ':' : '\0'))
            return 0;
        text = end + 1;
    }
    return 1;
}

int keep_address(const char *card, const char *text, const char *mac, char *name)
{
    const char *beacon = getenv("NETBOOT_BEACON");
    uint8_t known[MAC_BYTES];
    int is_known = mac && read_mac(mac, known);
    struct in_addr address;
    int code = OK;

    if (inet_pton(AF_INET, text, &address) != 1)
        return complain(USAGE, "'%s': expected an IPv4 address", text);
    if (mac && !is_known) /* a boot loader's; the server may know the card's as well */
        complain(OK, "'%s': expected a MAC address with colons; the card's own is taken", mac);
    if (beacon)
        code = report_to(beacon);
    if (code == OK)
        code = port_open(&port, card, address.s_addr);
    if (code != OK) {
        report_complaint("address:unanswered", text, "");
        wait_until(now_ms() + LAST_WORD_MS);
        return code;
    }
    settle(name);
    complain_to_kernel("address");
    figures_open();
    renewal_begin(&renewal, is_known ? known : port.mac, address.s_addr, lease_clock());
    for (;;) {
        struct pollfd waits[PORT_SOCKETS + 1];
        int64_t now = lease_clock(), wait = renewal.next - now, until, figures;

        if (wait <= 0) {
            ask(now);
            continue;
        }
        tell(news_late(&told, now), now);
        port_waits(&port, waits);
        figures = figures_look();
        until = now_ms() + (wait < LOOK_MS ? wait : LOOK_MS);
        if (await(waits, PORT_SOCKETS, figures < until ? figures : until)) {
            hear_dhcp(lease_clock());
            hear_arp(lease_clock());
        }
    }
}
