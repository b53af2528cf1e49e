/* Encryption in front of the NBD device: the kernel's dm-crypt
 * (Documentation/admin-guide/device-mapper/dm-crypt.rst). The server then sees noise.
 *
 * The agent generates the key and gives it to the kernel. The key never leaves this PC and ends with its
 * memory. The device has no header, because no later boot opens it again.
 */
#include "crypt.h"
#include "agent.h"
#include "mapper.h"
#include "say.h"
#include "types.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#define MAX_KEY 64 /* bytes */

/* In the order of the key `encrypt` (words.c); /init chooses by the CPU. */
static const struct cipher {
    const char *name; /* dm-crypt's */
    unsigned key;     /* bytes */
} ciphers[] = {
    {"", 0},
    {"aes-xts-plain64", 64}, /* AES-256; XTS takes two keys */
    {"xchacha12,aes-adiantum-plain64", 32},
};

static char name[24]; /* of this area's device; each agent of the PC has another one */

/* Describe one crypt target over the whole device, with a new key. */
static int describe(const struct area *area, struct mapping *mapping)
{
    static const char digits[] = "0123456789abcdef";
    const struct cipher *cipher = &ciphers[area->cipher];
    unsigned char key[MAX_KEY];
    char hex[2 * MAX_KEY + 1] = "", below[24];
    int code = mapper_number(area->device, below, sizeof below);

    if (code != OK)
        return code;
    if (getrandom(key, cipher->key, 0) != (ssize_t)cipher->key)
        return complain(KERNEL_REFUSED, "encryption: no random key: %s", strerror(errno));
    for (unsigned at = 0; at < cipher->key; at++) {
        hex[2 * at] = digits[key[at] >> 4];
        hex[2 * at + 1] = digits[key[at] & 15];
    }
    /* Without discards the server could never free memory. Discards tell the server which pages are
     * in use; so do the writes. */
    snprintf(mapping->parameters, sizeof mapping->parameters,
             "%s %s 0 %s 0 2 allow_discards sector_size:%d", cipher->name, hex, below, PAGE);
    explicit_bzero(key, sizeof key);
    explicit_bzero(hex, sizeof hex);
    return OK;
}

int start_encryption(struct area *area)
{
    struct mapping mapping = {.name = name, .type = "crypt", .bytes = area->export.size};
    int code;

    snprintf(name, sizeof name, "netboot-swap%u", area->index);
    code = describe(area, &mapping);
    if (code == OK)
        code = mapper_start(&mapping, area->device, sizeof area->device);
    explicit_bzero(&mapping, sizeof mapping);
    return code;
}

void stop_encryption(void)
{
    mapper_stop(name);
}
