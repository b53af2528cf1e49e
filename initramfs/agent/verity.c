/* Verification in front of the NBD device: the kernel's dm-verity
 * (Documentation/admin-guide/device-mapper/verity.rst). A changed block is an I/O error then.
 *
 * The export is the image and, behind it, the tree of SHA-256 hashes that the server made of it
 * (netboot/pages/verity.py). Only the hash at its top, from the kernel command line, is believed.
 */
#include "verity.h"
#include "agent.h"
#include "mapper.h"
#include "types.h"

#include <stdio.h>

int start_verification(struct area *area)
{
    struct mapping mapping = {.name = "netboot-root", .type = "verity", .read_only = 1};
    char below[24];
    int code = mapper_number(area->device, below, sizeof below);

    if (code != OK)
        return code;
    mapping.bytes = (uint64_t)area->blocks * PAGE;
    /* Version, data device, tree device, sizes of their blocks, blocks of data, first block of the
     * tree, algorithm, hash, no salt. */
    snprintf(mapping.parameters, sizeof mapping.parameters, "1 %s %s %d %d %u %u sha256 %s -", below,
             below, PAGE, PAGE, area->blocks, area->blocks, area->hash);
    return mapper_start(&mapping, area->device, sizeof area->device);
}
