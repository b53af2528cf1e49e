/* Plays a clock and DHCP servers to the agent's renewal.c and news.c: a line of the standard input is a
 * step. The words: a number that is taken for each random one, and 1 if only what is told is printed.
 *
 *   to SECONDS                                      the clock goes on, and what is asked is printed
 *   sleep SECONDS                                   the clock goes on, and the PC does not see it
 *   secs                                            the field of the last question is printed
 *   ack|nak|offer ADDRESS SERVER [SECONDS [RENEW [REBIND]]]   a server answers the last question
 */
#include "news.h"
#include "renewal.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t mac[MAC_BYTES] = {0x52, 0x54, 0, 0x77, 0, 1};
static const char *const news_names[] = {"", " HELD", " NO_SERVER", " EXPIRED",
                                         " FORBIDDEN", " REPLACED"};
static int only_told;
static const char *const states[] = {"asking", "bound", "renewing", "rebinding"};

static const char *dotted(uint32_t address)
{
    static char texts[4][INET_ADDRSTRLEN];
    static int at;

    at = (at + 1) % 4;
    return inet_ntop(AF_INET, &address, texts[at], INET_ADDRSTRLEN);
}

static void tell(enum news news, int64_t now)
{
    static struct told told;

    if (news_is_due(&told, news, now))
        printf("%g%s\n", (double)now / 1000, news_names[news]);
    news = news_late(&told, now);
    if (news != NO_NEWS)
        tell(news, now);
}

static void show(const struct renewal *renewal, int64_t now, enum news news)
{
    const struct question *asked = &renewal->question;

    if (only_told) {
        tell(news, now);
        return;
    }
    printf("%g %s %s", (double)now / 1000, states[renewal->state],
           asked->kind == DISCOVER ? "DISCOVER" : "REQUEST");
    if (asked->address)
        printf(" from %s", dotted(asked->address));
    if (asked->wanted)
        printf(" wants %s", dotted(asked->wanted));
    if (asked->server)
        printf(" of %s", dotted(asked->server));
    printf("%s%s\n", asked->named ? "" : " unnamed", news_names[news]);
}

int main(int count, char **words)
{
    uint32_t chance = count > 1 ? (uint32_t)strtoul(words[1], NULL, 0) : 1000;
    struct renewal renewal;
    int64_t now = 0;
    char line[128];

    only_told = count > 2 && words[2][0] == '1';
    renewal_begin(&renewal, mac, inet_addr("10.0.0.5"), 0);
    while (fgets(line, sizeof line, stdin)) {
        char kind[8], address[16], server[16];
        struct answer answer = {.id = renewal.question.id};
        enum news news;
        double until;

        if (sscanf(line, "to %lf", &until) == 1) {
            for (; renewal.next <= (int64_t)(until * 1000); now = renewal.next) {
                now = renewal.next > now ? renewal.next : now;
                news = renewal_ask(&renewal, now, chance);
                show(&renewal, now, news);
            }
            now = (int64_t)(until * 1000);
            continue;
        }
        if (sscanf(line, "sleep %lf", &until) == 1) {
            now = (int64_t)(until * 1000);
            continue;
        }
        if (strncmp(line, "secs", 4) == 0) {
            printf("%u\n", renewal.question.seconds);
            continue;
        }
        if (sscanf(line, "%7s %15s %15s %u %u %u", kind, address, server, &answer.seconds,
                   &answer.renew, &answer.rebind) < 3)
            return 2;
        answer.kind = kind[0] == 'a' ? ACK : kind[0] == 'n' ? NAK : OFFER;
        answer.address = inet_addr(address);
        answer.server = inet_addr(server);
        memcpy(answer.mac, mac, MAC_BYTES);
        news = renewal_take(&renewal, &answer, now, chance);
        if (only_told)
            tell(news, now);
        else
            printf("%g %s%s\n", (double)now / 1000, states[renewal.state], news_names[news]);
    }
    return 0;
}
