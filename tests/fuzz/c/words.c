/* The agent's command line, whose words come from the kernel's: words with a zero byte after each. The
 * first byte of an input is the verb; words that begin with '$' are the environment. */
#include "world.h"

#include "agent.h"
#include "types.h"
#include "words.h"

#include <arpa/inet.h>
#include <string.h>

#define MOST_WORDS 24

static void check(const struct area *area)
{
    struct in_addr address;

    expect(inet_pton(AF_INET, area->target.host, &address) == 1, "an address");
    expect(atoi(area->target.port) >= 1 && atoi(area->target.port) <= 65535, "a port");
    expect(strlen(area->target.export) + strlen(area->target.token) < MAX_WIRE_NAME, "a short name");
    expect(area->connections <= MAX_CONNECTIONS, "few connections");
    expect(area->number >= 1 && area->number <= MAX_AREAS, "an area");
    expect(!area->use || !area->cipher, "that only swap is encrypted");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum verb verbs[] = {FOR_ATTACH, FOR_STANDBY, FOR_HANDSHAKE};
    static struct area areas[LEGS];
    static const char *const names[] = {"NETBOOT_TOKEN", "NETBOOT_BEACON", "NETBOOT_LEASE"};
    char *text = malloc(size + 1), *words[MOST_WORDS + 1] = {NULL};
    unsigned count = 0, set = 0;
    int mirror = 0;

    memcpy(text, data, size);
    text[size] = '\0';
    for (char *at = text + (size != 0); at < text + size && count < MOST_WORDS; at += strlen(at) + 1) {
        if (*at == '$' && set < 3) {
            world_environment[2 * set] = names[set];
            world_environment[2 * set + 1] = at + 1;
            set++;
        } else {
            words[count++] = at;
        }
    }
    world_environment[2 * set] = NULL;
    world_begin(data, 0, 1);
    if (read_words(verbs[(size ? data[0] : 0) % 3], words, areas, &mirror) == OK) {
        check(&areas[0]);
        if (mirror)
            check(&areas[1]);
    } else {
        expect(world_printed_bytes > 1 && world_printed[world_printed_bytes - 1] == '\n', "a line");
        expect(memchr(world_printed, '\n', world_printed_bytes - 1) == NULL ||
                   memchr(data, '\n', size) != NULL,
               "one line");
    }
    free(text);
    return 0;
}
