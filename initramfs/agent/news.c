/* Which news of the renewal are told, and when. Trouble that is back soon after it was told waits, and is
 * told if it lasts: the last word must not be that all is well. */
#include "news.h"
#include "renewal.h"

int news_is_due(struct told *told, enum news news, int64_t now)
{
    unsigned kind = 1u << news;
    int due;

    if (news == NO_NEWS)
        return 0;
    if (news == HELD) {
        due = told->since_held || !told->when[HELD];
        told->since_held = told->waiting = 0;
    } else if (told->since_held & kind) {
        return 0;
    } else {
        due = !told->when[news] || now - told->when[news] >= AGAIN_MS;
        told->since_held |= due ? kind : 0;
        told->waiting = due ? told->waiting & ~kind : told->waiting | kind;
    }
    if (news == EXPIRED)
        told->waiting &= ~(1u << NO_SERVER); /* is old */
    if (due)
        told->when[news] = now;
    return due;
}

enum news news_late(const struct told *told, int64_t now)
{
    for (enum news news = NO_NEWS; news < NEWS; news++)
        if (told->waiting & 1u << news && now - told->when[news] >= AGAIN_MS)
            return news;
    return NO_NEWS;
}
