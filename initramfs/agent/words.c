/* The command line: key=value words, and the environment that goes with them. */
#include "words.h"
#include "agent.h"
#include "number.h"
#include "report.h"
#include "say.h"
#include "types.h"
#include "url.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HANDSHAKE_TIMEOUT 10 /* seconds; the verb `handshake` has no key for it */
#define HASH_DIGITS 64        /* SHA-256 */
#define MAX_BLOCKS (1u << 28) /* 1 TiB; parse_number() cannot overflow */
#define RESIDENT (FOR_ATTACH | FOR_STANDBY)
#define ALL_VERBS (RESIDENT | FOR_HANDSHAKE)

enum kind { TEXT, NUMBER, CHOICE };

static const struct key {
    const char *name;
    enum kind kind;
    unsigned verbs; /* that know the key */
    int needed;
    size_t at;             /* of the value in struct area: const char *, unsigned or int */
    unsigned low, high;    /* of a NUMBER */
    const char *values[3]; /* of a CHOICE, for 0, 1 and perhaps 2 */
} keys[] = {
    {"area", NUMBER, FOR_STANDBY, 1, offsetof(struct area, number), 2, MAX_AREAS, {0}},
    {"host", TEXT, ALL_VERBS, 1, offsetof(struct area, target.host), 0, 0, {0}},
    {"port", TEXT, ALL_VERBS, 1, offsetof(struct area, target.port), 0, 0, {0}},
    {"export", TEXT, ALL_VERBS, 1, offsetof(struct area, target.export), 0, 0, {0}},
    {"connections", NUMBER, RESIDENT, 1, offsetof(struct area, connections), 1, MAX_CONNECTIONS, {0}},
    {"timeout", NUMBER, RESIDENT, 1, offsetof(struct area, target.timeout), 1, 3600, {0}},
    {"patience", NUMBER, RESIDENT, 1, offsetof(struct area, patience), 1, 1000000, {0}},
    {"encrypt", CHOICE, RESIDENT, 0, offsetof(struct area, cipher), 0, 0, {"no", "aes", "adiantum"}},
    {"discard", CHOICE, RESIDENT, 0, offsetof(struct area, keeps), 0, 0, {"yes", "no"}},
    {"mirror", CHOICE, FOR_STANDBY, 0, offsetof(struct area, mirror), 0, 0, {"no", "yes"}},
    {"use", CHOICE, FOR_ATTACH, 0, offsetof(struct area, use), 0, 0, {"swap", "root", "keep"}},
    {"layout", CHOICE, FOR_ATTACH, 0, offsetof(struct area, either), 0, 0, {"mirror", "any"}},
    {"verify", TEXT, FOR_ATTACH, 0, offsetof(struct area, verify), 0, 0, {0}},
    {"wait", CHOICE, FOR_ATTACH, 0, offsetof(struct area, waits), 0, 0, {"no", "yes"}},
};

#define KEYS (sizeof keys / sizeof *keys)

/* Return the keys of a verb, or those that the verb needs, as words for a complaint. */
static const char *list(enum verb verb, int needed)
{
    static char text[128];
    size_t used = 0;

    for (unsigned at = 0; at < KEYS; at++)
        if (keys[at].verbs & verb && keys[at].needed >= needed && used < sizeof text)
            used += (size_t)snprintf(text + used, sizeof text - used, " %s", keys[at].name);
    return text + 1;
}

static int read_value(const struct key *key, const char *value, struct area *area)
{
    void *to = (char *)area + key->at;

    if (key->kind == TEXT) {
        *(const char **)to = value;
    } else if (key->kind == NUMBER) {
        if (!parse_number(value, key->low, key->high, to))
            return complain(USAGE, "%s=%s: expected a number, %u to %u", key->name, value, key->low,
                            key->high);
    } else {
        const char *const *values = key->values;
        int at = 0;

        while (at < 3 && values[at] && strcmp(value, values[at]) != 0)
            at++;
        if (at == 3 || !values[at])
            return complain(USAGE, "%s=%s: expected %s or %s%s%s", key->name, value, values[0],
                            values[1], values[2] ? " or " : "", values[2] ? values[2] : "");
        *(int *)to = at;
    }
    return OK;
}

/* Read one word and note its key in `seen`. */
static int read_word(enum verb verb, const char *word, struct area *area, unsigned *seen)
{
    size_t length = strcspn(word, "=");

    if (word[length] != '=')
        return complain(USAGE, "'%s': expected key=value; keys: %s", word, list(verb, 0));
    for (unsigned at = 0; at < KEYS; at++) {
        const struct key *key = &keys[at];

        if (!(key->verbs & verb) || strlen(key->name) != length ||
            strncmp(key->name, word, length) != 0)
            continue;
        if (*seen & 1u << at)
            return complain(USAGE, "key '%s' is given twice", key->name);
        *seen |= 1u << at;
        return read_value(key, word + length + 1, area);
    }
    return complain(USAGE, "unknown key '%.*s'; keys: %s", (int)length, word, list(verb, 0));
}

static int check_host(const char *host)
{
    struct in_addr address;

    if (inet_pton(AF_INET, host, &address) != 1)
        return complain(USAGE, "host=%s: expected an IPv4 address", host);
    return OK;
}

static int check_target(const struct target *target)
{
    static const char longest_set[] = "@.ffffffffffffffff";
    unsigned port;

    if (check_host(target->host) != OK)
        return USAGE;
    if (!parse_number(target->port, 1, 65535, &port))
        return complain(USAGE, "port=%s: expected a number, 1 to 65535", target->port);
    /* A lease's token, or a key, may come in place of this token. */
    if (strlen(target->token) > MAX_TOKEN)
        return complain(USAGE, "NETBOOT_TOKEN: too long; at most %d bytes", MAX_TOKEN);
    if (strlen(target->export) + MAX_TOKEN + sizeof longest_set > MAX_WIRE_NAME)
        return complain(USAGE, "export=: too long; at most %d bytes with the token", MAX_WIRE_NAME);
    return OK;
}

/* Read where the area's host grants a fresh lease. */
static int read_lease(enum verb verb, struct area *area)
{
    const char *lease = getenv("NETBOOT_LEASE");
    char url[256];

    if (verb == FOR_STANDBY && !lease)
        return complain(USAGE, "NETBOOT_LEASE is not set: standby asks there for a lease");
    if (verb == FOR_HANDSHAKE || !lease)
        return OK;
    snprintf(url, sizeof url, "http://%s%s%s:%s", area->target.host, area->either ? "," : "",
             area->either ? area->target.other : "", lease);
    return parse_url("NETBOOT_LEASE", url, &area->lease);
}

/* Read the size and the hash of an image that is to be verified. */
static int read_verify(struct area *area)
{
    char *colon = area->verify ? strchr(area->verify, ':') : NULL;

    if (!area->verify)
        return OK;
    if (area->use != FOR_ROOT)
        return complain(USAGE, "verify= needs use=root");
    if (colon)
        *colon = '\0';
    if (!colon || !parse_number(area->verify, 1, MAX_BLOCKS, &area->blocks) ||
        strlen(colon + 1) != HASH_DIGITS || strspn(colon + 1, "0123456789abcdef") != HASH_DIGITS)
        return complain(USAGE, "verify=: expected BLOCKS:HASH, the hash with %d digits", HASH_DIGITS);
    area->hash = colon + 1;
    return OK;
}

static int check_area(enum verb verb, struct area *area)
{
    int code = check_target(&area->target);

    area->target.trades = verb != FOR_HANDSHAKE && area->use != FOR_ROOT;
    if (code == OK && area->use && (area->cipher || area->keeps))
        code = complain(USAGE, "use=root and use=keep cannot be combined with encrypt= or discard=no");
    if (code == OK)
        code = read_verify(area);
    return code == OK ? read_lease(verb, area) : code;
}

int read_words(enum verb verb, char **words, struct area *areas, int *mirror)
{
    const char *token = getenv("NETBOOT_TOKEN"), *beacon = getenv("NETBOOT_BEACON");
    struct area *area = &areas[0];
    unsigned seen = 0;
    char *comma, *host;
    int code = OK;

    *area = (struct area){.number = 1, .leaving = -1};
    area->target.token = token ? token : "";
    area->target.timeout = HANDSHAKE_TIMEOUT;
    for (; *words && code == OK; words++)
        code = read_word(verb, *words, area, &seen);
    for (unsigned at = 0; at < KEYS && code == OK; at++)
        if (keys[at].verbs & verb && keys[at].needed && !(seen & 1u << at))
            code = complain(USAGE, "missing key '%s'; needed: %s", keys[at].name, list(verb, 1));
    if (code != OK)
        return code;
    area->hosts = area->target.host;
    area->hosts_end = area->hosts + strlen(area->hosts) + 1;
    comma = verb & RESIDENT && area->use != FOR_KEEPING ? strchr(area->hosts, ',') : NULL;
    *mirror = comma && !area->use && !area->either;
    if (comma && !*mirror) {
        *comma = '\0';
        area->target.other = comma + 1;
        code = check_host(area->target.other);
    } else if (comma) {
        host = comma + 1;
        for (; comma; comma = strchr(comma + 1, ','))
            *comma = '\0';
        areas[1] = *area;
        areas[1].target.host = host;
        code = check_area(verb, &areas[1]);
        for (; host < area->hosts_end && code == OK; host += strlen(host) + 1)
            code = check_host(host);
    }
    if (code == OK)
        code = check_area(verb, area);
    return code == OK && beacon ? report_to(beacon) : code;
}
