/* What the kernel says: /proc/swaps, and answers of netlink. The first byte of an input selects. */
#include "world.h"

#include "agent.h"
#include "device.h"
#include "need.h"
#include "types.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct area area;

    if (size == 0)
        return 0;
    world_begin(data + 1, size - 1, data[0]);
    if (data[0] & 1) {
        device_open();
        expect_fit_for_a_console();
        return 0;
    }
    area = (struct area){.number = 2, .leaving = -1, .swapoff = -1, .device = "nbd1"};
    area.export.size = 1ull << 30;
    world_swap(4ul << 30, 4ul << 30);
    leave_if_idle(&area); /* leaves only after it was idle for a while: the clock begins again each time */
    expect(area.leaving == -1, "an area that stays");
    return 0;
}
