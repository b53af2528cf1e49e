/* Decimal numbers of a command line. */
#include "number.h"

int parse_number(const char *text, unsigned low, unsigned high, unsigned *value)
{
    unsigned long found = 0;

    if (*text == '\0')
        return 0;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || found > high)
            return 0;
        found = found * 10 + (unsigned long)(*text - '0');
    }
    *value = (unsigned)found;
    return found >= low && found <= high;
}
