/* The structs that most modules share: the server, its export, and the area made of them. */
#ifndef TYPES_H
#define TYPES_H

#include "url.h"

#include <stdint.h>
#include <sys/types.h>

#define MAX_CONNECTIONS 16 /* also the profile's limit */
#define MAX_AREAS 4        /* of a PC: 1 + the profile's limit for swap.grow */
#define LEGS 2             /* of a mirror */
#define NO_DEVICE UINT32_MAX
#define MAX_WIRE_NAME 256 /* bytes; proto.md allows 4096, our names are shorter */
#define MAX_TOKEN 64
#define KEY_DIGITS 32
#define GENERATION_DIGITS 32

/* Transmission flags that the agent reads (proto.md, "Transmission flags"). */
#define FLAG_HAS_FLAGS (1 << 0)
#define FLAG_READ_ONLY (1 << 1)
#define FLAG_ROTATIONAL (1 << 4)
#define FLAG_SEND_TRIM (1 << 5)
#define FLAG_CAN_MULTI_CONN (1 << 8)

/* The place of the pages, and the secrets that give access to them. Neither is ever printed. */
struct target {
    const char *host; /* dotted IPv4 */
    const char *other; /* a host with the same export, which is tried if `host` fails; or NULL */
    const char *port;
    const char *export;
    const char *token; /* "" if there is none */
    int trades;               /* the token is to be exchanged for a key */
    char key[KEY_DIGITS + 1]; /* "" if the server told none */
    int proven;               /* the server has taken the key, so the token is dead */
    int unknown;              /* the server's last refusal: no such export, or a wrong token */
    unsigned timeout; /* seconds for the server's answer; then the connection is lost */
};

/* The server's description of the export. */
struct export {
    uint64_t size;  /* bytes */
    uint16_t flags; /* FLAG_... */
    /* Names this content of the export. A server that lost the pages names another generation, or
     * refuses. "" if the server names none. */
    char generation[GENERATION_DIGITS + 1];
};

/* The uses of a device, in the order of the values of use=. A root is only read; what a seat keeps is
 * a file system that outlives the boot. */
enum { FOR_SWAP, FOR_ROOT, FOR_KEEPING };

/* An attached export. The kernel has the sockets too; the agent's descriptors watch and end them. */
struct area {
    struct target target;
    struct export export;
    unsigned connections; /* 0: a mirror, whose legs have them */
    unsigned patience; /* seconds until the kernel fails requests to a lost server */
    /* The servers that may have the pages: each ends with a zero byte. Two have those of a mirror. */
    const char *hosts, *hosts_end;
    struct url lease;  /* asked for a fresh lease after the pages are lost; path "": no such place */
    char fresh[MAX_TOKEN + 1]; /* that lease's token */
    int use;         /* of the device: FOR_SWAP and so on */
    int either;      /* two servers can have the pages, which are in one pool */
    const char *verify; /* BLOCKS:HASH of a root image, which are these: */
    unsigned blocks;    /* of the image; 0: it is not verified */
    const char *hash;   /* at the top of its hash tree */
    int cipher;      /* that encrypts it (crypt.h), as a number; 0: none */
    int keeps;       /* freed pages: the agent turns discards off */
    int mirror;      /* a further area is on two servers */
    int waits;       /* for the word `attach` on its standard input */
    unsigned number; /* 1 is attached from the start; higher numbers follow when swap is short */
    int leaving;     /* a pipe that hangs up when the running swapoff(2) ends; -1: none runs */
    int swapoff;     /* its process */
    int leg;         /* of a mirror, 1 or 2; 0: no leg */
    uint32_t wish;   /* 1 + the N of /dev/nbdN that it has to be; 0: any */
    uint32_t index;  /* N of /dev/nbdN */
    char device[16]; /* below /dev, the swap device: nbdN, or the device that mirrors or encrypts it */
    dev_t node;      /* of `device`: while it is swap it has no name in /dev */
    int fds[MAX_CONNECTIONS];
};

#endif
