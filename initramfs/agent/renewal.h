/* When the PC asks for its address again, and what follows from the answers (RFC 2131, section 4.4.5).
 * Time is in ms of a clock that also runs while the PC sleeps. */
#ifndef RENEWAL_H
#define RENEWAL_H

#include "dhcp.h"

#include <stdint.h>

/* What the operator should know. */
enum news {
    NO_NEWS,
    HELD,      /* the address is lent to the PC, for the first time or after trouble */
    NO_SERVER, /* no DHCP server answers */
    EXPIRED,   /* the address is lent to the PC no longer */
    FORBIDDEN, /* a server says that the PC must not have the address */
    REPLACED,  /* a server offers another address */
    NEWS,
};

struct renewal {
    uint8_t mac[MAC_BYTES];
    uint32_t address; /* that the PC has, and keeps */
    uint32_t server;  /* that lent it; 0: not known */
    uint32_t seconds; /* for which it was lent the last time */
    int unnamed;      /* that server knows the PC without option 61 */
    enum { ASKING, BOUND, RENEWING, REBINDING } state;
    int64_t renew, rebind, end; /* of the lease */
    int64_t next;               /* the time for renewal_ask() */
    unsigned tries;             /* questions without an answer, in a row */
    unsigned pauses;            /* doublings of the wait, while ASKING */
    struct question question;   /* the last one; kind 0: no answer counts */
    int64_t sent, begun; /* the last question, and the first of those without an answer */
    uint32_t chosen; /* the server whose offer is to be taken at `next`; 0: none */
    int64_t patience; /* the value of `next` after that */
    enum news refusal; /* the answer to the question so far: FORBIDDEN or REPLACED */
    uint32_t refuser, offered;
    int troubled; /* the operator should know when the address is held again */
};

/* Begin to hold `address`, whose server and times are not known. */
void renewal_begin(struct renewal *renewal, const uint8_t *mac, uint32_t address, int64_t now);

/* Advance to the time `now`, which is `next` or later, and make `renewal->question`. The caller must
 * send it: to `server` while RENEWING, else to everybody. `random` is any number. */
enum news renewal_ask(struct renewal *renewal, int64_t now, uint32_t random);

/* Read an answer to the last question; others are ignored. */
enum news renewal_take(struct renewal *renewal, const struct answer *answer, int64_t now,
                       uint32_t random);

#endif
