/* The swap agent's verbs; see agent.h. */
#include "agent.h"
#include "address.h"
#include "area.h"
#include "device.h"
#include "grow.h"
#include "hold.h"
#include "http.h"
#include "md.h"
#include "mirror.h"
#include "need.h"
#include "report.h"
#include "say.h"
#include "session.h"
#include "settle.h"
#include "signed.h"
#include "status.h"
#include "types.h"
#include "url.h"
#include "words.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char usage_text[] =
    "usage: agent attach host=HOST[,HOST]... port=PORT export=NAME connections=N timeout=SECONDS\n"
    "                    patience=SECONDS [encrypt=CIPHER] [discard=no] [use=root|keep]\n"
    "                    [verify=BLOCKS:HASH] [layout=any] [wait=yes]\n"
    "       agent standby area=N host=HOST[,HOST]... port=PORT export=NAME connections=N\n"
    "                    timeout=SECONDS patience=SECONDS [encrypt=CIPHER] [discard=no]\n"
    "                    [mirror=yes]\n"
    "       agent address CARD ADDRESS [MAC]\n"
    "       agent handshake host=HOST port=PORT export=NAME\n"
    "       agent lease URL\n"
    "       agent verify CERTIFICATE SIGNATURE SHA256\n"
    "       agent status\n"
    "\n"
    "attach: turn the export of the NBD server at HOST into a swap area, print one line, close the\n"
    "output and stay. Attach the export again after each loss. Of several servers two have all pages;\n"
    "a root is on two servers, and either is good.\n"
    "  host         IPv4 addresses with dots\n"
    "  connections  1 to 16\n"
    "  timeout      the connection is lost if the server does not answer for so long\n"
    "  patience     the kernel waits so long for a lost server, then requests fail\n"
    "  encrypt      aes or adiantum, with a random key that stays on this PC\n"
    "  discard      no: the server is not told which pages are free again\n"
    "  use          root: a device to read files from; keep: one to write, too\n"
    "  verify       a changed block of the root is an I/O error: the number of its 4 KiB blocks, and\n"
    "               the hash of the tree that follows them\n"
    "  layout       any: the pages are in a pool, and either of two servers has them all\n"
    "  wait         get ready, then wait for the line `attach` on the standard input; the line\n"
    "               `lease URL` prints an answer as the verb does, or failed=REASON\n"
    "standby: attach the export as a further area, 2 to 4, while swap is short. Of several servers the\n"
    "first with room has the area, or two have a mirror.\n"
    "address: have the DHCP server lend this PC its IPv4 address on. MAC is the address by which the\n"
    "server knows the PC, if it is not that of the network card.\n"
    "handshake: ask the server for the export's size, flags and generation.\n"
    "lease: print the boot server's answer at URL, http://ADDRESS[,ADDRESS]:PORT/PATH.\n"
    "verify: check the signature (a file) of what has this SHA-256, by an X.509 certificate in DER.\n"
    "status: print a line for people, then key=value lines.\n"
    "\n"
    "Environment: NETBOOT_TOKEN opens the export, once. Reports go to NETBOOT_BEACON, such a URL. HOST\n"
    "grants a fresh lease at NETBOOT_LEASE, PORT/PATH: `size=BYTES token=TOKEN`.\n"
    "Exit: 0 done, 1 swap is not attached (status), 2 usage, 3 cannot connect, 4 refused by the\n"
    "server, 5 by the kernel, 6 the server does not speak NBD as needed.\n";

static int usage(void)
{
    dprintf(2, "%s", usage_text);
    return USAGE;
}

/* Print the boot server's answer to a GET. Return an exit code. */
static int lease(const char *text)
{
    static char answer[1024];
    struct url url = {0};
    int code = parse_url("URL", text, &url);

    if (code == OK)
        code = http_ask("GET", &url, answer, sizeof answer);
    if (code == OK)
        dprintf(1, "%.*s\n", (int)strcspn(answer, "\r\n"), answer);
    return code;
}

/* Acquire all resources for attaching, then read lines from the standard input: `lease URL` asks for a
 * lease, `attach` ends the wait. Return an exit code. */
static int wait_for_order(char *name)
{
    static char line[512];
    size_t length = 0;
    int code = device_open();

    settle(name);
    check_kernel();
    while (code == OK) {
        if (length == sizeof line || read(0, line + length, 1) != 1)
            return complain(USAGE, "the standard input ended before the line `attach`");
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

static const char *const uses[] = {"swap", "root", "keep"};

static int attach(struct area *area, int mirror, char *name)
{
    int code = area->waits ? wait_for_order(name) : OK;

    if (code == OK)
        code = mirror ? mirror_open(area) : area_open(area);
    if (code != OK)
        return code;
    if (!area->waits) {
        settle(name);
        check_kernel();
    }
    code = mirror ? mirror_start(area) : area_start(area);
    if (code != OK)
        return code;
    dprintf(1, "device=/dev/%s size=%llu connections=%u\n", area->device,
            (unsigned long long)area->export.size, area->connections);
    complain_to_kernel(uses[area->use]);
    if (mirror)
        area = mirror_divide(area);
    if (!area->use)
        status_open(area, ATTACHED);
    hold(area);
    return OK; /* never reached: the first area is held until the PC goes off */
}

/* Acquire all resources for attaching, then wait until the area is needed. */
static int standby(struct area *area, char *name)
{
    int code = device_open();

    if (code != OK)
        return code;
    settle(name);
    check_kernel();
    status_open(area, STANDBY);
    watch_memory();
    code = area->mirror ? md_open() : OK;
    if (code != OK)
        return code;
    dprintf(1, "area=%u stands by\n", area->number);
    complain_to_kernel("swap");
    stand_by(area);
}

static int handshake(struct target *target)
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

int main(int count, char **arguments)
{
    static struct area areas[LEGS + 1]; /* the last one is a further mirror itself */
    const char *verb = count > 1 ? arguments[1] : "";
    char **words = arguments + 2;
    int mirror, code;

    signal(SIGPIPE, SIG_IGN); /* writing to a lost server returns an error instead */
    if (strcmp(verb, "attach") == 0) {
        code = read_words(FOR_ATTACH, words, areas, &mirror);
        return code == OK ? attach(areas, mirror, arguments[0]) : code;
    }
    if (strcmp(verb, "standby") == 0) {
        code = read_words(FOR_STANDBY, words, areas, &mirror);
        return code == OK ? standby(areas, arguments[0]) : code;
    }
    if (strcmp(verb, "handshake") == 0) {
        code = read_words(FOR_HANDSHAKE, words, areas, &mirror);
        return code == OK ? handshake(&areas[0].target) : code;
    }
    if ((count == 4 || count == 5) && strcmp(verb, "address") == 0)
        return keep_address(arguments[2], arguments[3], arguments[4], arguments[0]);
    if (count == 3 && strcmp(verb, "lease") == 0)
        return lease(arguments[2]);
    if (count == 5 && strcmp(verb, "verify") == 0)
        return verify_signature(arguments[2], arguments[3], arguments[4]);
    if (count == 2 && strcmp(verb, "status") == 0)
        return status_show();
    return usage();
}
