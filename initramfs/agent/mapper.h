/* Devices of the kernel's device mapper. */
#ifndef MAPPER_H
#define MAPPER_H

#include <stdint.h>
#include <sys/types.h>

#define MAX_PARAMETERS 320

/* One target over a whole device. `parameters` may contain a key: mapper_start wipes its own copies,
 * and the caller wipes this one. */
struct mapping {
    const char *name; /* of the device, in the device mapper */
    const char *type; /* of the target */
    uint64_t bytes;
    int read_only;
    char parameters[MAX_PARAMETERS];
};

/* Make the device and put its name below /dev into `device`. Return an exit code, after a failure
 * with everything undone. */
int mapper_start(const struct mapping *mapping, char *device, size_t size);

/* Remove the device with this name in the device mapper. */
void mapper_stop(const char *name);

/* Put MAJOR:MINOR of the device below /dev into `text`. Return an exit code. */
int mapper_number(const char *device, char *text, size_t size);

#endif
