/* When the PC asks for its address again, and what follows from the answers (RFC 2131, section 4.4.5).
 *
 * The address came from the boot loader or from udhcpc, which are gone. So the first question is that of
 * a client that reboots (section 4.3.2): its answer tells the server and the times. Swap and root depend
 * on the address, so the PC never gives it up: after a refusal, or if nobody answers until the lease
 * ends, it goes on asking for this address.
 */
#include "renewal.h"
#include "dhcp.h"

#include <string.h>

#define FIRST_WAIT 4000         /* doubled with each question, up to 16 times that (section 4.1) */
#define MOST_DOUBLINGS 4
#define LEAST_REPEAT 60000      /* between questions that renew a lease, unless it is a short one */
#define ANSWERLESS_TRIES 2      /* one packet may be lost */
#define LATE 15000              /* a question comes later only if the PC slept */
#define REFUSAL_WAIT 2000       /* another server may still say yes */
#define SILENT_TRIES 4          /* a minute */
#define LEAST_SECONDS 4         /* shorter leases are renewed as if they were that long */
#define UNKNOWN_SECONDS 3600    /* of a lease that comes without its length */
#define INFINITE 0xffffffffu
#define DAY 86400 /* seconds; a server may forget even a lease that it gave for ever */
#define NEVER INT64_MAX

void renewal_begin(struct renewal *renewal, const uint8_t *mac, uint32_t address, int64_t now)
{
    memset(renewal, 0, sizeof *renewal);
    memcpy(renewal->mac, mac, MAC_BYTES);
    renewal->address = address;
    renewal->state = ASKING;
    renewal->next = now;
}

static void ask(struct renewal *renewal, enum dhcp_kind kind, int64_t now, uint32_t random)
{
    struct question *question = &renewal->question;

    if (!question->kind)
        renewal->begun = now;
    memset(question, 0, sizeof *question);
    question->kind = kind;
    question->id = random;
    /* Some relays and standby servers leave a PC to others until it has asked for some time. */
    question->seconds = (uint16_t)(now - renewal->begun < 65535000 ? (now - renewal->begun) / 1000
                                                                   : 65535);
    memcpy(question->mac, renewal->mac, MAC_BYTES);
    /* iPXE and udhcpc name themselves by their MAC address. Other loaders do not, and a server may take
     * the PC for another one: so half of the questions have none until a server lends the address. */
    question->named =
        (renewal->state != ASKING || renewal->tries / 4 % 2 == 0) == !renewal->unnamed;
    if (renewal->state == ASKING)
        question->wanted = renewal->address;
    else
        question->address = renewal->address;
    renewal->sent = now;
    renewal->refusal = NO_NEWS;
}

/* Begin to ask as a client that has no lease. */
static void lose(struct renewal *renewal, unsigned tries)
{
    renewal->state = ASKING;
    renewal->tries = tries;
    renewal->pauses = 0;
}

/* Ask as a client that has no lease: it reboots twice, looks for a server, and takes the address from a
 * server that it knows. That one may offer another address because this PC itself answers its ping. */
static void ask_anew(struct renewal *renewal, int64_t now, uint32_t random)
{
    uint32_t server = renewal->server ? renewal->server : renewal->refuser;
    unsigned step = renewal->tries % 4;

    ask(renewal, step < 2 || (step == 3 && server) ? REQUEST : DISCOVER, now, random);
    if (step == 3)
        renewal->question.server = server;
    renewal->tries++;
    renewal->next = now + (FIRST_WAIT << renewal->pauses) - 1000 + random % 2000;
    if (renewal->pauses < MOST_DOUBLINGS)
        renewal->pauses++;
}

/* Ask for more time, and again after half of the time until `end`. A short lease leaves room for a few
 * questions. */
static void ask_for_more(struct renewal *renewal, int64_t now, int64_t end, uint32_t random)
{
    int64_t wait = (end - now) / 2, least = (renewal->end - renewal->renew) / 4;

    ask(renewal, REQUEST, now, random);
    renewal->tries++;
    if (least > LEAST_REPEAT)
        least = LEAST_REPEAT;
    if (wait < least)
        wait = least;
    if (wait > DAY * 1000)
        wait = DAY * 1000; /* a lease without an end */
    renewal->next = now + wait < end ? now + wait : end;
}

/* Return the refusal of the last question, after all servers had the time to answer it. */
static enum news take_refusal(struct renewal *renewal)
{
    enum news refusal = renewal->refusal;

    renewal->refusal = NO_NEWS;
    if (renewal->state != ASKING)
        lose(renewal, 2); /* rebooting would be refused as well */
    return refusal;
}

/* Take the offer of the address, with the question's number (section 4.4.1). */
static void take_offer(struct renewal *renewal, int64_t now)
{
    renewal->question.kind = REQUEST;
    renewal->question.server = renewal->chosen;
    renewal->chosen = 0;
    renewal->sent = now;
    renewal->next = renewal->patience;
}

/* Forget the questions before the PC slept: no server could answer them. */
static void wake(struct renewal *renewal)
{
    renewal->question.kind = 0;
    renewal->chosen = 0;
    renewal->refusal = NO_NEWS;
    renewal->tries = 0;
    renewal->pauses = 0;
}

/* Return whether the lease has ended, whatever became of it before; once. */
static int has_ended(struct renewal *renewal, int64_t now)
{
    if (!renewal->end || now < renewal->end)
        return 0;
    renewal->end = NEVER;
    return 1;
}

enum news renewal_ask(struct renewal *renewal, int64_t now, uint32_t random)
{
    enum news news = NO_NEWS;

    if (now - renewal->next > LATE)
        wake(renewal);
    if (renewal->chosen) {
        take_offer(renewal, now);
        return NO_NEWS;
    }
    if (renewal->refusal != NO_NEWS)
        news = take_refusal(renewal);
    if (renewal->state == BOUND) {
        renewal->state = RENEWING;
        renewal->tries = 0;
    }
    if (renewal->state == RENEWING && now >= renewal->rebind)
        renewal->state = REBINDING;
    if (news == NO_NEWS && has_ended(renewal, now)) {
        news = renewal->tries ? EXPIRED : NO_NEWS; /* 0: the PC slept */
        if (renewal->state != ASKING)
            lose(renewal, 0);
    }
    if (renewal->state == RENEWING) {
        ask_for_more(renewal, now, renewal->rebind, random);
    } else if (renewal->state == REBINDING) {
        if (renewal->tries >= ANSWERLESS_TRIES && !renewal->troubled)
            news = NO_SERVER;
        ask_for_more(renewal, now, renewal->end, random);
    } else {
        if (renewal->tries == SILENT_TRIES && !renewal->troubled && news == NO_NEWS)
            news = NO_SERVER;
        ask_anew(renewal, now, random);
    }
    if (news != NO_NEWS)
        renewal->troubled = 1;
    return news;
}

/* Set T1, T2 and the end of a lease. Both are up to a sixteenth of T1 earlier: not all PCs of a room ask in
 * one instant. */
static void set_times(struct renewal *renewal, uint32_t early, uint32_t late, uint32_t random)
{
    int64_t begin = renewal->sent - random % ((int64_t)early * 1000 / 16);

    renewal->renew = begin + (int64_t)early * 1000;
    renewal->rebind = begin + (int64_t)late * 1000;
    renewal->end = renewal->seconds == INFINITE ? NEVER
                                                : renewal->sent + (int64_t)renewal->seconds * 1000;
}

static enum news take_lease(struct renewal *renewal, const struct answer *answer, uint32_t random)
{
    uint32_t seconds = answer->seconds ? answer->seconds : UNKNOWN_SECONDS, early, late;
    int is_endless = seconds == INFINITE;
    enum news news = renewal->troubled || !renewal->end ? HELD : NO_NEWS;

    if (seconds < LEAST_SECONDS)
        seconds = LEAST_SECONDS;
    if (is_endless)
        seconds = 2 * DAY; /* so T1 is a day */
    early = answer->renew && answer->renew < seconds ? answer->renew : seconds / 2;
    late = answer->rebind > early && answer->rebind < seconds ? answer->rebind
           : early < seconds / 8 * 7                          ? seconds / 8 * 7 + seconds % 8 * 7 / 8
                                                              : early + (seconds - early) / 2;
    renewal->state = BOUND;
    renewal->troubled = 0;
    renewal->refusal = NO_NEWS;
    renewal->server = answer->server;
    renewal->seconds = is_endless ? INFINITE : seconds;
    set_times(renewal, early, late, random);
    renewal->next = renewal->renew;
    renewal->unnamed = !renewal->question.named;
    renewal->question.kind = 0;
    return news;
}

static void note_refusal(struct renewal *renewal, const struct answer *answer, enum news refusal,
                         int64_t now)
{
    renewal->refusal = refusal;
    renewal->refuser = answer->server;
    renewal->offered = answer->address;
    if (renewal->state != ASKING && now + REFUSAL_WAIT < renewal->next)
        renewal->next = now + REFUSAL_WAIT;
}

enum news renewal_take(struct renewal *renewal, const struct answer *answer, int64_t now,
                       uint32_t random)
{
    struct question *question = &renewal->question;

    if (!question->kind || answer->id != question->id ||
        memcmp(answer->mac, renewal->mac, MAC_BYTES) != 0)
        return NO_NEWS;
    if (question->kind == DISCOVER) {
        if (answer->kind != OFFER || !answer->address || !answer->server || renewal->chosen)
            return NO_NEWS; /* without an address: a server that adds boot files only */
        if (answer->address == renewal->address) {
            renewal->chosen = answer->server;
            renewal->patience = renewal->next;
            renewal->next = now;
        } else {
            note_refusal(renewal, answer, REPLACED, now);
        }
    } else if (answer->kind == NAK) {
        note_refusal(renewal, answer, FORBIDDEN, now);
    } else if (answer->kind == ACK && answer->address != renewal->address) {
        note_refusal(renewal, answer, REPLACED, now);
    } else if (answer->kind == ACK) {
        return take_lease(renewal, answer, random);
    }
    return NO_NEWS;
}
