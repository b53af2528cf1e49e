/* The PC's figures for the boot server, at most 200 bytes: netboot/feed/report.py describes the text.
 *
 * The files stay open, because opening one could wait for memory, and each file that is read here is the
 * kernel's own. The screen's file is in a tmpfs, whose pages can be swapped out: its only page is mapped,
 * and so locked. The screen writes over it in place (rootfs/screen/usr/lib/netboot/screen.sh).
 */
#include "figures.h"
#include "report.h"
#include "status.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef FIGURES_MS /* tests have no time */
#define FIGURES_MS 10000
#endif
#ifndef MDSTAT /* tests cannot make it where no md is loaded */
#define MDSTAT "/proc/mdstat"
#endif
#define MAX_FIGURES 200 /* bytes that the server takes */
#define MAX_VALUE 15    /* digits that it takes */
#define TOLD_AREAS 4    /* of swap; the last one stands for all further ones */
#define MAX_FILE 8192   /* bytes; /proc/vmstat has 4500 (Linux 6.5) */
#define SCREEN_BYTES 64

enum file { MEMINFO, SWAPS, MEMORY, IO, VMSTAT, LOADAVG, MIRRORS, SCREEN, FILES };

static const char *const paths[FILES] = {
    "/proc/meminfo",     "/proc/swaps",  "/proc/pressure/memory",
    "/proc/pressure/io", "/proc/vmstat", "/proc/loadavg", MDSTAT,
    "/run/agent.screen",
};

static const struct figure {
    char name[4];
    unsigned char file;
    const char *key; /* before the value */
} figures[] = {
    {"&m=", MEMINFO, "MemTotal:"},
    {"&a=", MEMINFO, "MemAvailable:"},
    {"&z=", MEMINFO, "Zswapped:"},
    {",", MEMINFO, "Zswap:"},
    {"&p=", MEMORY, "some avg10="},
    {",", MEMORY, "full avg10="},
    {"&i=", IO, "some avg10="},
    {",", IO, "full avg10="},
    {"&f=", VMSTAT, "pgmajfault "},
    {"&r=", VMSTAT, "refault_anon "},
    {",", VMSTAT, "refault_file "},
    {"&o=", VMSTAT, "oom_kill "},
    {"&l=", LOADAVG, ""},
    {"&y=", MIRRORS, "recovery ="},
    {"&u=", SCREEN, "users="},
    {"&k=", SCREEN, "kind="},
};

static int fds[FILES];
static char told[512]; /* MAX_FIGURES, and what one more file can add */
static size_t length;

static void read_file(enum file file, char *text)
{
    size_t got = 0;
    ssize_t more;

    while ((more = pread(fds[file], text + got, MAX_FILE - 1 - got, (off_t)got)) > 0)
        got += (size_t)more;
    text[got] = '\0';
}

/* Tell used and whole KiB of each line of /proc/swaps. */
static void tell_areas(const char *line)
{
    unsigned long used = 0, size = 0;
    unsigned count = 0;
    const char *next;
    char *at;

    for (line = strchr(line, '\n'); line && *++line; line = next) {
        next = strchr(line, '\n');
        line += strcspn(line, " "); /* the path, in which a space is \040 */
        line += strspn(line, " ");
        line += strcspn(line, " \t"); /* partition or file */
        size += strtoul(line, &at, 10);
        used += strtoul(at, NULL, 10);
        if (++count >= TOLD_AREAS && next && next[1])
            continue;
        length += (size_t)snprintf(told + length, sizeof told - length, "%s%lu/%lu",
                                   count == 1 ? "&s=" : ",", used, size);
        size = used = 0;
    }
}

static void tell_figure(const struct figure *figure, const char *text)
{
    const char *at = strstr(text, figure->key);
    size_t most;

    at = at ? at + strlen(figure->key) : "";
    at += strspn(at, " ");
    most = strspn(at, "0123456789.abcdefghijklmnopqrstuvwxyz");
    most = most < MAX_VALUE ? most : MAX_VALUE;
    length += (size_t)snprintf(told + length, sizeof told - length, "%s%.*s", figure->name, (int)most,
                               at);
}

static void tell(void)
{
    char text[MAX_FILE];
    unsigned losses, longest;

    status_losses(&losses, &longest);
    length = (size_t)snprintf(told, sizeof told, "v=1&d=%u,%u", losses, longest);
    for (enum file file = 0; file < FILES; file++) {
        size_t before = length;

        read_file(file, text);
        if (file == SWAPS)
            tell_areas(text);
        for (unsigned at = 0; at < sizeof figures / sizeof *figures; at++)
            if (figures[at].file == file)
                tell_figure(&figures[at], text);
        if (length > MAX_FIGURES)
            length = before;
    }
    told[length] = '\0';
    report_figures(told);
}

void figures_open(void)
{
    status_watch();
    for (enum file file = 0; file < SCREEN; file++)
        fds[file] = open(paths[file], O_RDONLY | O_CLOEXEC);
    fds[SCREEN] = open(paths[SCREEN], O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (ftruncate(fds[SCREEN], SCREEN_BYTES) == 0)
        mmap(NULL, SCREEN_BYTES, PROT_READ, MAP_SHARED, fds[SCREEN], 0);
}

int64_t figures_look(void)
{
    static int64_t next;
    int64_t now = now_ms();

    if (!next) {
        next = now + chance(FIGURES_MS);
    } else if (now >= next) {
        tell();
        next = now + FIGURES_MS * 4 / 5 + chance(FIGURES_MS * 2 / 5);
    }
    return next;
}
