/* Which news of the renewal are told, and when: the same trouble is not told again and again. */
#ifndef NEWS_H
#define NEWS_H

#include "renewal.h"

#include <stdint.h>

#define AGAIN_MS 600000 /* until the same trouble is told again */

struct told {
    int64_t when[NEWS];  /* each kind was told last; 0: never */
    unsigned since_held; /* bit N: kind N was told since the address was held */
    unsigned waiting;    /* bit N: kind N came too early to be told again, and lasts */
};

/* Return whether `news` of the time `now` is to be told now. News that come too early wait. */
int news_is_due(struct told *told, enum news news, int64_t now);

/* Return the trouble that waited, lasts, and is due now; NO_NEWS if there is none. */
enum news news_late(const struct told *told, int64_t now);

#endif
