/* Whatever an NBD server says: the agent stays in its buffers, tells only printable words, never the
 * token, and takes an export only with its size. The first byte of an input: bit 0, the server
 * greets properly; bit 1, the agent has a token; bit 2, it
 * trades the token for a key; the others, too, the pieces in which bytes arrive. */
#include "world.h"

#include "agent.h"
#include "handshake.h"
#include "report.h"
#include "stream.h"
#include "types.h"

#include <string.h>

static const unsigned char greeting[18] = "NBDMAGICIHAVEOPT\0\3";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct stream stream = {.fd = 1000, .end = FOREVER};
    struct target target = {.host = "10.0.0.1", .port = "10809", .export = "seat-525400123456"};
    struct export export;
    unsigned choice = size ? data[0] : 0;
    size_t before = choice & 1 ? sizeof greeting : 0;
    unsigned char *said = malloc(size + sizeof greeting);
    int code;

    memcpy(said, greeting, before);
    memcpy(said + before, data + (size != 0), size - (size != 0));
    target.token = choice & 2 ? TOKEN : "";
    target.trades = choice >> 2 & 1;
    world_begin(said, before + size - (size != 0), choice);
    code = shake_hands(&stream, &target, 77, &export);
    expect_fit_for_a_console();
    expect(!(choice & 2) || !strstr(world_printed, TOKEN), "no token in a message");
    expect(!*target.key || (strlen(target.key) == KEY_DIGITS && !strstr(world_printed, target.key)),
           "a whole key, in no message");
    if (code == OK) {
        size_t digits = strlen(export.generation);

        expect(digits == 0 || digits == GENERATION_DIGITS, "a whole generation or none");
        expect(export.flags & FLAG_HAS_FLAGS, "flags of an export");
    } else {
        expect(world_printed_bytes > 0, "a message with each failure");
    }
    free(said);
    return 0;
}
