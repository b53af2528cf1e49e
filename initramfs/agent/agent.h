/* The swap agent attaches an NBD export as swap, or as the device of a root file system. It stays,
 * and attaches the export again after each loss. It needs nothing but a Linux kernel below it.
 *
 * A module is NAME.c, and NAME.h declares what the module offers. Modules in order: each uses only
 * modules above it (tests/initramfs/test_includes.py).
 *
 *   text.c       words put into text and found in it: printf's family and strstr, as in <stdio.h> and
 *                <string.h>
 *   say.c        messages on standard error or in the kernel's log
 *   number.c     decimal numbers of a command line
 *   url.c        http://ADDRESS:PORT/PATH
 *   report.c     beacons to the boot server, and the only place where the agent waits
 *   http.c       requests to the boot server
 *   stream.c     bytes over TCP, each step in bounded time
 *   handshake.c  the NBD handshake (proto.md of the NBD project)
 *   session.c    TCP connections to the page server
 *   device.c     the kernel's NBD driver, over generic netlink
 *   md.c         the kernel's md: two NBD devices as one
 *   mapper.c     the kernel's device mapper
 *   crypt.c      encryption of the area
 *   verity.c     verification of a root image
 *   signed.c     signatures of the boot server
 *   swap.c       the swap header and swapon(2)
 *   area.c       an export from its first connection to its end
 *   settle.c     locked into RAM, hard to kill
 *   mirror.c     one area on two servers
 *   same.c       are these the pages that were attached?
 *   status.c     the state that `agent status` shows
 *   need.c       free swap and memory pressure: is a further area needed?
 *   hold.c       the resident part: watches the connections, attaches again
 *   grow.c       further areas, attached while swap is short
 *   words.c      the command line
 *   dhcp.c       DHCP messages
 *   cards.c      the PC's own network cards
 *   frame.c      packets around them, and ARP
 *   renewal.c    when to ask for the PC's address again
 *   port.c       the boot port's sockets for both
 *   news.c       which trouble with the address is told, and when
 *   figures.c    memory, swap and pressure of the PC, told every 10 s
 *   address.c    the verb `address`: keeps the PC's address
 *   agent.c      verbs
 *
 * No function allocates memory. Swap depends on the agent, so the agent must not wait for memory
 * that only swap can free. Every buffer is static or on the stack.
 */
#ifndef AGENT_H
#define AGENT_H

/* Exit codes; the initramfs tries again after CANNOT_CONNECT only. */
enum {
    OK = 0,
    NOT_ATTACHED = 1, /* `status`: an agent runs, but its swap is not attached now */
    USAGE = 2,
    CANNOT_CONNECT = 3, /* no server there, or the connection ended during a handshake */
    REFUSED = 4,        /* the server refused, or it no longer has the pages */
    KERNEL_REFUSED = 5, /* netlink, the device or swapon(2) failed */
    BAD_PROTOCOL = 6,   /* the peer does not speak NBD as the agent needs it */
};

#define PAGE 4096 /* bytes; also the device's block size, because swap moves whole pages */

#endif
