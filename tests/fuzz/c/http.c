/* A URL, up to the first zero byte of an input, and what the boot server then answers: to any question,
 * and to the one for a lease. */
#include "world.h"

#include "agent.h"
#include "area.h"
#include "http.h"
#include "types.h"

#include <arpa/inet.h>
#include <string.h>

static void check(const struct url *url, const char *text)
{
    char again[256], address[16], other[16];
    const char *host = text + strlen("http://");
    int two = memchr(host, ',', strcspn(host, "/")) != NULL;

    inet_ntop(AF_INET, &url->server.sin_addr, address, sizeof address);
    inet_ntop(AF_INET, &url->other, other, sizeof other);
    snprintf(again, sizeof again, "http://%s%s%s:%u%s", address, two ? "," : "", two ? other : "",
             ntohs(url->server.sin_port), url->path);
    expect(strcmp(again, text) == 0, "the URL that was written");
}

static void ask(struct url *url, size_t room)
{
    char *answer = malloc(room);
    int questions = url->other.s_addr ? 2 : 1;
    int code = http_ask("GET", url, answer, room);

    expect(world_sent_bytes < questions * (4 + sizeof url->path + 16), "a short question");
    if (code == OK)
        expect(strlen(answer) < room, "an answer with an end");
    else
        expect(world_printed_bytes > 0, "a message with each failure");
    free(answer);
}

static void ask_for_lease(const struct url *url)
{
    static struct area area;

    area = (struct area){.number = 1, .leaving = -1, .lease = *url, .target = {.token = "before"}};
    if (fresh_lease(&area) == OK) {
        expect(area.target.token == area.fresh, "the fresh token");
        expect(strlen(area.fresh) <= MAX_TOKEN, "a token that fits");
        expect(world_printed_bytes == 0, "no message");
    } else {
        expect(strcmp(area.target.token, "before") == 0, "the old token");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct url url = {.path = ""};
    size_t length = strnlen((const char *)data, size), after = length + (length < size);
    char *text = malloc(length + 1);

    memcpy(text, data, length);
    text[length] = '\0';
    world_begin(data, 0, 1);
    if (parse_url("NETBOOT_LEASE", text, &url) == OK) {
        check(&url, text);
        world_begin(data + after, size - after, 1);
        ask(&url, 2048);
        expect_fit_for_a_console();
        world_begin(data + after, size - after, 2);
        ask(&url, 64);
        expect_fit_for_a_console();
        world_begin(data + after, size - after, 3);
        ask_for_lease(&url);
        expect_fit_for_a_console();
    }
    free(text);
    return 0;
}
