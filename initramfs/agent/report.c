/* Beacons to the boot server: POST URL/STAGE?uptime=SECONDS&sent=SECONDS, as the initramfs' shell
 * sends them (lib.sh). Delivery is best effort: reports wait in a queue while the server does not
 * answer, and a full queue drops its oldest report. Figures are a report without a stage: they come only
 * if the queue is empty, and are tried once.
 *
 * The one socket never blocks. A report advances whenever the agent waits for anything else, so
 * await() is part of this module.
 */
#include "report.h"
#include "say.h"
#include "url.h"

#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define QUEUED 16          /* reports of about four losses */
#define ANSWER_MS 5000     /* for one report, from connect to the server's answer */
#define PAUSE_MS 3000      /* after a report that the server did not take */
#define MAX_REPORT (MAX_TEXT + 160)
#define BEACONS "/beacon" /* begins the path of a beacon, and in its place: */
#define FIGURES "/report"

struct report {
    char stage[24]; /* "": figures */
    char body[MAX_REPORT];
    int64_t made;
};

static struct url base; /* a report goes to base/STAGE */
static struct report queue[QUEUED];
static unsigned oldest, queued;
static int fd = -1; /* of the report that is being sent */
static int sent;
static uint64_t random_state;
static int64_t next_step; /* the time to give this report up, or to send the next one */

int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int report_to(const char *url)
{
    return parse_url("NETBOOT_BEACON", url, &base);
}

static void finish(int taken)
{
    close(fd);
    fd = -1;
    sent = 0;
    if (!taken)
        other_server(&base);
    taken |= !*queue[oldest].stage;
    if (taken) {
        oldest = (oldest + 1) % QUEUED;
        queued--;
    }
    next_step = now_ms() + (taken ? 0 : PAUSE_MS);
}

void report(const char *stage, const char *format, ...)
{
    struct report *fresh;
    va_list arguments;

    if (!*base.path)
        return;
    if (queued == QUEUED) {
        if (fd >= 0)
            finish(0);
        if (queued == QUEUED) { /* not if figures were given up */
            oldest = (oldest + 1) % QUEUED;
            queued--;
        }
    }
    fresh = &queue[(oldest + queued) % QUEUED];
    snprintf(fresh->stage, sizeof fresh->stage, "%s", stage);
    va_start(arguments, format);
    vsnprintf(fresh->body, sizeof fresh->body, format, arguments);
    va_end(arguments);
    fresh->made = now_ms();
    queued++;
}

void forget_reports(void)
{
    while (queued)
        finish(1);
    random_state = 0; /* or both legs of a mirror would come in the same instants */
}

void report_figures(const char *text)
{
    if (!queued && strncmp(base.path, BEACONS "/", sizeof BEACONS) == 0)
        report("", "%s", text);
}

static void begin(void)
{
    static const int later = 0;

    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    next_step = now_ms() + ANSWER_MS;
    if (fd < 0) {
        next_step = now_ms() + PAUSE_MS;
        return;
    }
    /* The acknowledgement that makes the connection waits for the request, and goes with it. So the
     * server has both when it accepts, and answers at once (netboot/serve/http/reports.py). */
    setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &later, sizeof later);
    connect(fd, (struct sockaddr *)&base.server, sizeof base.server); /* EINPROGRESS, or poll(2) says */
}

static int post(const struct report *report)
{
    static char request[sizeof base.path + MAX_REPORT + 256];
    int64_t now = now_ms();
    int length = *report->stage
                     ? snprintf(request, sizeof request, "POST %s/%s?uptime=%lld.%02d&sent=%lld.%02d",
                                base.path, report->stage, (long long)(report->made / 1000),
                                (int)(report->made % 1000 / 10), (long long)(now / 1000),
                                (int)(now % 1000 / 10))
                     : snprintf(request, sizeof request, "POST " FIGURES "%s",
                                base.path + sizeof BEACONS - 1);

    length += snprintf(request + length, sizeof request - (size_t)length,
                       " HTTP/1.0\r\nContent-Length: %zu\r\n\r\n%s", strlen(report->body), report->body);
    return send(fd, request, (size_t)length, MSG_DONTWAIT) == length;
}

static void step(short ready)
{
    char answer[256];

    if (ready & POLLOUT && !sent && !(ready & (POLLERR | POLLHUP))) {
        sent = 1;
        if (!post(&queue[oldest]))
            finish(0);
    } else if (ready) {
        /* Any answer counts: the same report would get the same answer again. */
        finish(sent && recv(fd, answer, sizeof answer, MSG_DONTWAIT) > 0);
    } else if (now_ms() >= next_step) {
        finish(0);
    }
}

int await(struct pollfd *waits, unsigned count, int64_t until)
{
    struct pollfd *ours = &waits[count];

    for (;;) {
        int64_t now = now_ms(), wake = until;
        int ready;

        if (fd < 0 && queued && now >= next_step)
            begin();
        if ((fd >= 0 || queued) && next_step < wake)
            wake = next_step;
        *ours = (struct pollfd){.fd = fd, .events = sent ? POLLIN : POLLOUT};
        /* A day at most, because poll(2) takes an int. */
        wake = wake - now > 86400000 ? 86400000 : wake > now ? wake - now : 0;
        ready = poll(waits, count + 1, (int)wake);
        if (ready < 0)
            continue;
        if (fd >= 0)
            step(ours->revents);
        for (unsigned at = 0; at < count; at++)
            if (waits[at].revents)
                return 1;
        if (now_ms() >= until)
            return 0;
    }
}

/* xorshift64 */
unsigned chance(unsigned below)
{
    if (!random_state) {
        memcpy(&random_state, (const void *)getauxval(AT_RANDOM), sizeof random_state);
        random_state = (random_state ^ (uint64_t)getpid()) | 1; /* AT_RANDOM is the same in both legs */
    }
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state % below);
}

void wait_until(int64_t until)
{
    struct pollfd nothing[1];

    await(nothing, 0, until);
}

void pause_for(unsigned length)
{
    wait_until(now_ms() + length / 2 + chance(length / 2));
}
