/* Verbs and arguments of the swap agent; see agent.h. */
#include "agent.h"
#include "area.h"
#include "device.h"
#include "grow.h"
#include "hold.h"
#include "http.h"
#include "mirror.h"
#include "need.h"
#include "report.h"
#include "say.h"
#include "session.h"
#include "settle.h"
#include "status.h"
#include "types.h"
#include "url.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage_text[] =
    "usage: agent attach HOST[,HOST] PORT EXPORT CONNECTIONS TIMEOUT PATIENCE [WORD...]\n"
    "       agent standby AREA HOST PORT EXPORT CONNECTIONS TIMEOUT PATIENCE [WORD...]\n"
    "       agent handshake HOST PORT EXPORT\n"
    "       agent lease URL\n"
    "       agent status\n"
    "\n"
    "attach: makes EXPORT of the NBD server at HOST (dotted IPv4) a swap area, prints one line,\n"
    "closes its output and stays, to attach it again whenever the server was lost. Of two servers\n"
    "each has all pages.\n"
    "  CONNECTIONS  1 to 16\n"
    "  TIMEOUT      seconds in which the server has to answer, else the connection is lost\n"
    "  PATIENCE     seconds that the kernel waits for a lost server before it fails\n"
    "  encrypt      with a random key that nobody else has: the server sees noise\n"
    "  nodiscard    the server is not told which pages are free again\n"
    "  root         no swap, only a device to read a file system from\n"
    "  wait         is ready and begins when its input says `attach`; `lease URL` asks as below, and\n"
    "               has an answer in any case: failed=WHY\n"
    "standby: waits until swap runs short, attaches EXPORT beside it, and lets it go when it is\n"
    "not needed any more; and so on. AREA is 2 to 4: each waits for the one before it.\n"
    "handshake: only asks the server for the export's size, flags and generation.\n"
    "lease: prints what the boot server answers at URL, http://ADDRESS:PORT/PATH, within 5 s.\n"
    "status: says how it goes: a line for people, then key=value lines.\n"
    "If NETBOOT_TOKEN is in the environment, EXPORT@TOKEN is what the server is asked for; reports\n"
    "go to NETBOOT_BEACON, http://ADDRESS:PORT/PATH. NETBOOT_LEASE, PORT/PATH, is where HOST grants a\n"
    "fresh lease (`size=BYTES token=TOKEN`) when there is no token, or the pages are lost.\n"
    "Exit: 0 done, 1 swap is not attached (status), 3 cannot connect, 4 refused by the server,\n"
    "5 refused by the kernel, 6 the server does not speak NBD as it should.\n";

#define HANDSHAKE_TIMEOUT 10 /* seconds */

static int usage(void)
{
    dprintf(2, "%s", usage_text);
    return USAGE;
}

/* Reads a decimal number between `low` and `high`; false if `text` is anything else. */
static int number(const char *text, unsigned low, unsigned high, unsigned *value)
{
    unsigned long found = 0;

    if (*text == '\0')
        return 0;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || found > high)
            return 0;
        found = found * 10 + (unsigned long)(*text - '0');
    }
    *value = (unsigned)found;
    return found >= low && found <= high;
}

static int read_target(char **arguments, struct target *target)
{
    static const char longest_set[] = "@.ffffffffffffffff";
    const char *token = getenv("NETBOOT_TOKEN"), *beacon = getenv("NETBOOT_BEACON");
    struct in_addr address;
    unsigned port;

    target->host = arguments[0];
    target->port = arguments[1];
    target->export = arguments[2];
    target->token = token ? token : "";
    target->timeout = HANDSHAKE_TIMEOUT;
    if (inet_pton(AF_INET, target->host, &address) != 1)
        return complain(USAGE, "HOST: expected an IPv4 address, found '%s'", target->host);
    if (!number(target->port, 1, 65535, &port))
        return complain(USAGE, "PORT: expected 1 to 65535, found '%s'", target->port);
    if (strlen(target->export) + strlen(target->token) + sizeof longest_set > MAX_WIRE_NAME)
        return complain(USAGE, "EXPORT: at most %d bytes with its token", MAX_WIRE_NAME);
    return beacon ? report_to(beacon) : OK;
}

static int lease(const char *text)
{
    static char answer[2048];
    struct url url = {0};
    int code = parse_url("URL", text, &url);

    if (code == OK)
        code = http_ask("GET", &url, answer, sizeof answer);
    if (code == OK)
        dprintf(1, "%.*s\n", (int)strcspn(answer, "\r\n"), answer);
    return code;
}

/* All is there that attaching will need; until its input says so, a line each tells what to do. */
static int obey(char *name)
{
    static char line[512];
    size_t length = 0;
    int code = device_open();

    settle(name);
    while (code == OK) {
        if (length == sizeof line || read(0, line + length, 1) != 1)
            return complain(USAGE, "nobody says that it may begin");
        if (line[length++] != '\n')
            continue;
        line[length - 1] = '\0';
        length = 0;
        if (strcmp(line, "attach") == 0)
            break;
        if (strncmp(line, "lease ", 6) == 0 && lease(line + 6) != OK)
            dprintf(1, "failed=%s\n", last_complaint());
    }
    return code;
}

static int attach(struct area *area, int mirror, char *name)
{
    int code = area->waits ? obey(name) : OK;

    if (code == OK)
        code = mirror ? mirror_open(area) : area_open(area);
    if (code != OK)
        return code;
    if (!area->waits)
        settle(name);
    code = mirror ? mirror_start(area) : area_start(area);
    if (code != OK)
        return code;
    dprintf(1, "device=/dev/%s size=%llu connections=%u\n", area->device,
            (unsigned long long)area->export.size, area->connections);
    complain_to_kernel(area->root ? "root" : "swap");
    if (mirror)
        area = mirror_divide(area, name);
    if (!area->root)
        status_open(area, ATTACHED);
    hold(area);
    return OK; /* never: the first area is held for as long as the machine is on */
}

/* Everything that attaching will need is there when this process begins to wait. */
static int standby(struct area *area, char *name)
{
    int code = device_open();

    if (code != OK)
        return code;
    settle(name);
    status_open(area, STANDBY);
    watch_memory();
    dprintf(1, "area=%u stands by\n", area->number);
    complain_to_kernel("swap");
    stand_by(area);
}

static int handshake(const struct target *target)
{
    struct export export;
    unsigned count = 1;
    int fd = -1;
    int code = open_sessions(target, 0, FOREVER, &fd, &count, &export);

    if (code != OK)
        return code;
    close_sessions(&fd, 1);
    dprintf(1, "size=%llu flags=0x%x generation=%s\n", (unsigned long long)export.size,
            export.flags, export.generation);
    return OK;
}

static int read_area(char **arguments, struct area *area)
{
    const char *lease = getenv("NETBOOT_LEASE");
    char url[256];
    int code = read_target(arguments, &area->target);

    if (code == OK && lease) {
        snprintf(url, sizeof url, "http://%s:%s", area->target.host, lease);
        code = parse_url("NETBOOT_LEASE", url, &area->lease);
    }
    if (code != OK)
        return code;
    if (!number(arguments[3], 1, MAX_CONNECTIONS, &area->connections))
        return complain(USAGE, "CONNECTIONS: expected 1 to %d, found '%s'", MAX_CONNECTIONS,
                        arguments[3]);
    if (!number(arguments[4], 1, 3600, &area->target.timeout))
        return complain(USAGE, "TIMEOUT: expected seconds, 1 to 3600, found '%s'", arguments[4]);
    if (!number(arguments[5], 1, 1000000, &area->patience))
        return complain(USAGE, "PATIENCE: expected seconds, 1 to 1000000, found '%s'",
                        arguments[5]);
    return OK;
}

/* The words after the numbers; false if one of them is none. */
static int read_words(char **words, struct area *area)
{
    for (; *words; words++) {
        if (strcmp(*words, "encrypt") == 0)
            area->encrypted = 1;
        else if (strcmp(*words, "nodiscard") == 0)
            area->keeps = 1;
        else if (strcmp(*words, "root") == 0)
            area->root = 1;
        else if (strcmp(*words, "wait") == 0)
            area->waits = 1;
        else
            return 0;
    }
    return !area->root || (!area->encrypted && !area->keeps);
}

int main(int count, char **arguments)
{
    static struct area areas[LEGS];
    struct area *area = &areas[0];
    char *second;
    int code;

    signal(SIGPIPE, SIG_IGN); /* a server that went away is a return value, not a death */
    area->number = 1;
    area->leaving = -1;
    if (count >= 8 && strcmp(arguments[1], "attach") == 0 && read_words(arguments + 8, area)) {
        areas[1] = *area;
        second = area->root ? NULL : strchr(arguments[2], ',');
        if (second)
            *second++ = '\0';
        code = read_area(arguments + 2, area);
        if (code == OK && second) {
            arguments[2] = second;
            code = read_area(arguments + 2, &areas[1]);
        }
        return code == OK ? attach(areas, second != NULL, arguments[0]) : code;
    }
    if (count >= 9 && strcmp(arguments[1], "standby") == 0 && read_words(arguments + 9, area) &&
        !area->root && !area->waits && number(arguments[2], 2, MAX_AREAS, &area->number)) {
        code = read_area(arguments + 3, area);
        if (code == OK && !*area->lease.path)
            code = complain(USAGE, "NETBOOT_LEASE: needed, to ask for a lease");
        return code == OK ? standby(area, arguments[0]) : code;
    }
    if (count == 5 && strcmp(arguments[1], "handshake") == 0) {
        code = read_target(arguments + 2, &area->target);
        return code == OK ? handshake(&area->target) : code;
    }
    if (count == 3 && strcmp(arguments[1], "lease") == 0)
        return lease(arguments[2]);
    if (count == 2 && strcmp(arguments[1], "status") == 0)
        return status_show();
    return usage();
}
