/* The agent's own printf beside the C library's, for each conversion that it has. */
#include "world.h"

#include <string.h>

#undef snprintf
int snprintf(char *text, size_t room, const char *format, ...);

struct figures {
    uint8_t room, most;
    int number;
    unsigned plain;
    long long wide;
    uint32_t hundredths;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char format[] = "%.*s|%s|%d|%02d|%u|%x|%ld|%lu|%lld|%llu|%llx|%zu";
    struct figures all;
    char words[128], wanted[1024], *got;
    size_t length, room;
    int count, expected;

    if (size < sizeof all)
        return 0;
    memcpy(&all, data, sizeof all);
    length = size - sizeof all < sizeof words - 1 ? size - sizeof all : sizeof words - 1;
    memcpy(words, data + sizeof all, length);
    words[length] = '\0';
    room = all.room + 1u;
    got = malloc(room);
#define FIGURES                                                                                        \
    all.most, words, words, all.number, all.number & 0xff, all.plain, all.plain, (long)all.wide,       \
        (unsigned long)all.wide, all.wide, (unsigned long long)all.wide, (unsigned long long)all.wide, \
        (size_t)all.wide
    count = agent_snprintf(got, room, format, FIGURES);
    expected = snprintf(wanted, sizeof wanted, format, FIGURES);
    expect(count == expected, "the C library's count");
    wanted[room - 1] = '\0';
    expect(strcmp(got, wanted) == 0, "the C library's text");
    /* Seconds: the agent rounds a half up and the C library to even, so there is none here. */
    agent_snprintf(got, room, "%.2f", all.hundredths / 100.0);
    snprintf(wanted, sizeof wanted, "%.2f", all.hundredths / 100.0);
    wanted[room - 1] = '\0';
    expect(strcmp(got, wanted) == 0, "the C library's seconds");
    free(got);
    return 0;
}
