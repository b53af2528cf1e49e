/* Are these the pages that the area had? For any server.
 *
 * A server that names the generation of its pages is taken at its word. Of any other server the area
 * itself is read. Swap begins with a page that the kernel never writes, and that holds a random UUID: a
 * server that was started again without the pages has something else there.
 *
 * A server without generations has no fence either. It may still have a request of the old connection,
 * and do it after the kernel sent a newer one: an old page would replace a new one. So the old
 * connection has to be over for the server too. The area's side is shut down. The server closes its side
 * after it has read to the end of what was sent, and TCP shows that.
 */
#include "same.h"
#include "agent.h"
#include "page.h"
#include "report.h"
#include "say.h"
#include "swap.h"
#include "types.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#define CLOSE_MS 2000 /* for the server to close the old connections; then another try follows */
#define LOOK_MS 10
#define READ_MS 10000

/* tcpi_state: both sides have closed, or the connection is gone */
#define TIME_WAIT 6
#define CLOSED 7

static int is_over(int fd)
{
    unsigned char info[8] = {0};
    socklen_t length = sizeof info;

    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &length) < 0 || info[0] == TIME_WAIT ||
           info[0] == CLOSED;
}

static int all_over(const struct area *area)
{
    for (unsigned at = 0; at < area->connections; at++)
        if (!is_over(area->fds[at]))
            return 0;
    return 1;
}

/* Wait until the server has nothing left of the old connections. */
static int fence(const struct area *area)
{
    int64_t until = now_ms() + CLOSE_MS;

    while (!all_over(area)) {
        if (now_ms() >= until)
            return complain(CANNOT_CONNECT, "the server still works on an old connection: waiting");
        wait_until(now_ms() + LOOK_MS);
    }
    return OK;
}

static int check_pages(const struct area *area, const int *fds)
{
    static unsigned char page[PAGE];

    for (unsigned at = 0; at < area->connections; at++) {
        int code = read_page(fds[at], 0, page, now_ms() + READ_MS);

        if (code != OK)
            return code;
        if (memcmp(page, swap_page(), PAGE) != 0)
            return complain(REFUSED, "the server no longer has the pages: the swap header is gone");
    }
    return OK;
}

/* A newer server may offer more flags. */
int check_same(const struct area *area, const struct export *found, const int *fds)
{
    const struct export *was = &area->export;
    int code;

    if (found->size != was->size || (found->flags & was->flags) != was->flags)
        return complain(REFUSED, "the server offers another export than before");
    if (strcmp(found->generation, was->generation) != 0)
        return complain(REFUSED, "the server no longer has the pages (its generation: %s)",
                        *found->generation ? found->generation : "unknown");
    if (*was->generation || area->use == FOR_ROOT)
        return OK;
    code = fence(area);
    return code == OK && area->use == FOR_SWAP ? check_pages(area, fds) : code;
}
