/* Are these the pages that the area had? The server must say so, by the name of their generation. (A
 * server that names none may be any program. nbd-attach asks such a server another way.) */
#include "same.h"
#include "agent.h"
#include "say.h"
#include "types.h"

#include <string.h>

/* A newer server may offer more flags. */
int check_same(const struct area *area, const struct export *found, const int *fds)
{
    const struct export *was = &area->export;

    (void)fds;
    if (!*was->generation)
        return complain(REFUSED, "the server does not name the generation of its pages");
    if (found->size != was->size || (found->flags & was->flags) != was->flags)
        return complain(REFUSED, "the server offers another export than before");
    if (strcmp(found->generation, was->generation) != 0)
        return complain(REFUSED, "the server no longer has the pages (its generation: %s)",
                        *found->generation ? found->generation : "unknown");
    return OK;
}
