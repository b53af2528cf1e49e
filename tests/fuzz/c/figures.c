/* What the kernel's files and the screen's say, as figures for the boot server. */
#include "world.h"

#include "figures.h"
#include "report.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char head[] = "POST /report/t HTTP/1.0\r\nContent-Length: ";
    char *body;

    world_begin(data, size, size ? data[0] : 0);
    expect(report_to("http://10.0.0.1:8080/beacon/t") == 0, "a URL");
    wait_until(figures_look());
    figures_look();
    wait_until(now_ms() + 10000);
    expect(strncmp(world_sent, head, sizeof head - 1) == 0, "a report");
    body = strstr(world_sent, "\r\n\r\n");
    expect(body != NULL, "a whole report");
    expect(strtoul(world_sent + sizeof head - 1, NULL, 10) == strlen(body + 4), "its length");
    expect(strncmp(body + 4, "v=1&", 4) == 0, "its version");
    expect(strlen(body + 4) <= 200, "a short report");
    for (; *(body + 4); body++)
        expect(body[4] > ' ' && body[4] <= '~', "printable text");
    world_begin((const uint8_t *)"taken", 5, 1);
    wait_until(figures_look());
    report("waits", "here");
    figures_look();
    wait_until(now_ms() + 60000);
    expect(strstr(world_sent, "POST /beacon/t/waits?") != NULL, "a beacon");
    expect(strstr(world_sent, "/report/") == NULL, "no figures beside it");
    return 0;
}
