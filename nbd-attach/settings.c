/* The command line. */
#include "settings.h"
#include "agent.h"
#include "number.h"
#include "say.h"
#include "types.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#define SCHEME "nbd://"
#define STANDARD_PORT "10809" /* IANA's for NBD */
#define MAX_DEVICE 255        /* of /dev/nbdN; nbd.ko makes 16 at first */
#define MAX_HOST 255          /* bytes of a name (RFC 1035) */

enum kind { FLAG, NUMBER, DEVICE };

static struct settings *given; /* the settings that read_settings fills */
static unsigned used;          /* --swap, --disk and --read-only as bits of `use` */

static int read_device(const char *text)
{
    const char *name = strncmp(text, "/dev/", 5) == 0 ? text + 5 : text;
    unsigned index;

    if (strncmp(name, "nbd", 3) != 0 || !parse_number(name + 3, 0, MAX_DEVICE, &index))
        return complain(USAGE, "'%s' is no NBD device: expected /dev/nbd0 to /dev/nbd%d", text,
                        MAX_DEVICE);
    given->device = name;
    given->area.wish = index + 1;
    return OK;
}

static int read_number(const char *name, const char *text, unsigned low, unsigned high,
                       unsigned *value)
{
    if (parse_number(text, low, high, value))
        return OK;
    return complain(USAGE, "%s %s: expected a number, %u to %u", name, text, low, high);
}

static int read_use(int use)
{
    used |= 1u << use;
    given->area.use = use;
    return OK;
}

static int read_order(enum order order)
{
    if (given->order != ATTACH && given->order != order)
        return complain(USAGE, "--check, --status and --detach exclude each other: give one of them");
    given->order = order;
    return OK;
}

/* Apply one option. `value` is the word after it, or what follows its '='; NULL: none. Set `*taken` if
 * the option has a value. */
static int read_option(const char *name, const char *value, int *taken)
{
    static const char *const valued[] = {"--device", "--connections", "--timeout", "--patience"};
    struct area *area = &given->area;

    for (unsigned at = 0; at < sizeof valued / sizeof *valued; at++)
        *taken |= strcmp(name, valued[at]) == 0;
    if (*taken && !value)
        return complain(USAGE, "option %s: its value is missing; see nbd-attach --help", name);
    if (strcmp(name, "--swap") == 0)
        return read_use(FOR_SWAP);
    if (strcmp(name, "--disk") == 0)
        return read_use(FOR_KEEPING);
    if (strcmp(name, "--read-only") == 0)
        return read_use(FOR_ROOT);
    if (strcmp(name, "--check") == 0)
        return read_order(CHECK);
    if (strcmp(name, "--status") == 0)
        return read_order(SHOW);
    if (strcmp(name, "--detach") == 0)
        return read_order(DETACH);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return read_order(HELP);
    if (strcmp(name, "--version") == 0)
        return read_order(VERSION);
    if (strcmp(name, "--json") == 0)
        given->json = 1;
    else if (strcmp(name, "--force") == 0)
        given->force = 1;
    else if (strcmp(name, "--no-discard") == 0)
        area->keeps = 1;
    else if (strcmp(name, "--device") == 0)
        return read_device(value);
    else if (strcmp(name, "--connections") == 0)
        return read_number(name, value, 1, MAX_CONNECTIONS, &area->connections);
    else if (strcmp(name, "--timeout") == 0)
        return read_number(name, value, 1, 3600, &area->target.timeout);
    else if (strcmp(name, "--patience") == 0)
        return read_number(name, value, 1, 1000000, &area->patience);
    else
        return complain(USAGE, "unknown option '%s': see nbd-attach --help", name);
    return OK;
}

/* Put the IPv4 address of `name` into `text`. Return an exit code. */
static int look_up(const char *name, char *text)
{
    struct addrinfo wanted = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
    int error = getaddrinfo(name, NULL, &wanted, &found);

    if (error)
        return complain(CANNOT_CONNECT, "no IPv4 address of '%s': %s", name, gai_strerror(error));
    inet_ntop(AF_INET, &((struct sockaddr_in *)found->ai_addr)->sin_addr, text, HOST_ROOM);
    freeaddrinfo(found);
    return OK;
}

/* Read HOST[:PORT], `length` bytes of `text`. */
static int read_server(const char *text, size_t length)
{
    char host[MAX_HOST + 1], *colon;
    const char *port = STANDARD_PORT;
    unsigned at = given->servers, value;
    int code;

    if (at == MAX_SERVERS)
        return complain(USAGE, "more than %d servers: name fewer", MAX_SERVERS);
    if (length > MAX_HOST)
        return complain(USAGE, "the name of a server is longer than %d bytes", MAX_HOST);
    memcpy(host, text, length);
    host[length] = '\0';
    colon = strchr(host, ':');
    if (colon) {
        *colon = '\0';
        port = colon + 1;
    }
    if (!*host || (colon && strchr(port, ':')))
        return complain(USAGE, "'%.*s' is no server: expected HOST or HOST:PORT, by name or IPv4",
                        (int)length, text);
    if (!parse_number(port, 1, 65535, &value))
        return complain(USAGE, "port '%s' of %s: expected a number, 1 to 65535", port, host);
    snprintf(given->ports[at], PORT_ROOM, "%u", value);
    code = look_up(host, given->hosts[at]);
    given->servers += code == OK;
    return code;
}

/* Read HOST[:PORT][,HOST[:PORT]...]/EXPORT. A name that is not known costs only its server. */
static int read_place(const char *text)
{
    const char *at = strncmp(text, SCHEME, sizeof SCHEME - 1) == 0 ? text + sizeof SCHEME - 1 : text;
    const char *slash = strchr(at, '/');
    int code = OK;

    if (!slash)
        return complain(USAGE, "'%s': expected HOST[:PORT][,HOST[:PORT]...]/EXPORT", text);
    given->area.target.export = slash + 1;
    if (strlen(slash + 1) > MAX_WIRE_NAME)
        return complain(USAGE, "the export's name is longer than %d bytes", MAX_WIRE_NAME);
    while (code != USAGE) {
        size_t length = strcspn(at, ",/");

        code = read_server(at, length);
        at += length;
        if (*at++ == '/')
            break;
    }
    return code == USAGE || !given->servers ? code : OK;
}

/* Check what only all words together can show. */
static int check(const char *place)
{
    struct area *area = &given->area;
    enum order order = given->order;
    int needs_place = order == ATTACH || order == CHECK;

    if (order == HELP || order == VERSION)
        return OK;
    if (order == DETACH && (place || !given->device))
        return complain(USAGE, "--detach: expected the device, as in nbd-attach --detach /dev/nbd0");
    if (order == SHOW && place)
        return complain(USAGE, "--status takes no server: it shows what this computer has attached");
    if (needs_place && !place)
        return complain(USAGE, "no server: expected HOST[:PORT]/EXPORT; see nbd-attach --help");
    if (order == ATTACH && (used == 0 || used & (used - 1)))
        return complain(USAGE, "expected one of --swap, --disk and --read-only: --swap replaces what "
                               "the export has");
    if (given->json && order != SHOW)
        return complain(USAGE, "--json: only --status has it");
    if (given->force && area->use != FOR_SWAP)
        return complain(USAGE, "--force: only --swap replaces what the export has");
    return needs_place ? read_place(place) : OK;
}

/* More than one server: each use has its own reason why a server may stand in for another. */
static int check_servers(void)
{
    struct area *area = &given->area;

    area->target.host = given->hosts[0];
    area->target.port = given->ports[0];
    if (given->servers == 1 || given->order != ATTACH || area->use == FOR_SWAP)
        return OK;
    if (area->use == FOR_KEEPING)
        return complain(USAGE, "--disk takes one server: on two the files would soon differ");
    if (given->servers > LEGS || strcmp(given->ports[0], given->ports[1]) != 0)
        return complain(USAGE, "--read-only takes one or two servers, with the same port");
    area->target.other = given->hosts[1];
    return OK;
}

int read_settings(char **words, struct settings *settings)
{
    const char *place = NULL;
    int code = OK;

    given = settings;
    /* A further area is one that can be given back (agent/hold.c). */
    given->area = (struct area){.number = 2, .leaving = -1, .connections = 2, .patience = 600};
    given->area.target = (struct target){.token = "", .timeout = 10};
    for (; *words && code == OK; words++) {
        char name[32], *equals = strchr(*words, '=');
        int taken = 0;

        if (**words == '-' && (*words)[1]) {
            size_t length = equals ? (size_t)(equals - *words) : strlen(*words);

            snprintf(name, sizeof name, "%.*s", (int)length, *words);
            code = read_option(name, equals ? equals + 1 : words[1], &taken);
            if (code == OK && equals && !taken)
                code = complain(USAGE, "option %s takes no value", name);
            words += taken && !equals && code == OK;
        } else if (given->order == DETACH || given->order == SHOW) {
            code = read_device(*words);
        } else if (place) {
            code = complain(USAGE, "'%s' after '%s': expected one server and export", *words, place);
        } else {
            place = *words;
        }
    }
    if (code == OK)
        code = check(place);
    if (code == OK && given->servers)
        code = check_servers();
    return code;
}
