/* A signature, checked by the kernel: it has X.509 and RSA for its own modules (keyctl(2),
 * Documentation/security/keys/core.rst, "KEYCTL_PKEY_VERIFY"). So no cryptography is here. */
#include "signed.h"
#include "agent.h"
#include "say.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DIGEST 32 /* bytes of SHA-256 */

/* linux/keyctl.h; musl has no copy of it. */
#define KEY_SPEC_PROCESS_KEYRING (-2)
#define KEYCTL_PKEY_VERIFY 28
struct pkey_params {
    int32_t key;
    uint32_t digest_bytes, signature_bytes, spare[7];
};

static int read_all(const char *path, unsigned char *into, size_t room, size_t *length)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, into, room);

    if (got < 0)
        return complain(USAGE, "%s: %s", path, strerror(errno));
    close(fd);
    *length = (size_t)got;
    return OK;
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int parse_digest(const char *hex, unsigned char *into)
{
    for (int at = 0; at < DIGEST; at++) {
        int high = digit(hex[2 * at]), low = high < 0 ? -1 : digit(hex[2 * at + 1]);

        if (low < 0)
            return complain(USAGE, "expected a SHA-256 in hexadecimal");
        into[at] = (unsigned char)(high << 4 | low);
    }
    return hex[2 * DIGEST] ? complain(USAGE, "expected a SHA-256 in hexadecimal") : OK;
}

int verify_signature(const char *certificate, const char *signature, const char *hex)
{
    static unsigned char encoded[4096], mark[1024], digest[DIGEST];
    struct pkey_params parameters = {.digest_bytes = DIGEST};
    size_t length, size;
    long key;
    int code = parse_digest(hex, digest);

    if (code == OK)
        code = read_all(certificate, encoded, sizeof encoded, &length);
    if (code == OK)
        code = read_all(signature, mark, sizeof mark, &size);
    if (code != OK)
        return code;
    key = syscall(SYS_add_key, "asymmetric", "netboot", encoded, length, KEY_SPEC_PROCESS_KEYRING);
    if (key < 0)
        return complain(KERNEL_REFUSED, "the kernel takes no certificate: %s", strerror(errno));
    parameters.key = (int32_t)key;
    parameters.signature_bytes = (uint32_t)size;
    if (syscall(SYS_keyctl, KEYCTL_PKEY_VERIFY, &parameters, "enc=pkcs1 hash=sha256", digest, mark)) {
        if (errno == EKEYREJECTED || errno == EBADMSG || errno == EINVAL)
            return complain(REFUSED, "the signature is wrong");
        return complain(KERNEL_REFUSED, "the kernel checks no signature: %s", strerror(errno));
    }
    return OK;
}
