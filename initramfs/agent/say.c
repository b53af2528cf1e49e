/* Messages: on standard error while the agent is a command, in the kernel's log once resident. */
#include "say.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef PROGRAM /* nbd-attach is another one */
#define PROGRAM "netboot"
#endif

static char text[MAX_TEXT];
static const char *speaker; /* once resident */
static int hushed;

void hush(int more)
{
    hushed += more;
}

int complain(int code, const char *format, ...)
{
    char line[MAX_TEXT];
    va_list arguments;

    if (hushed)
        return code;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (!speaker)
        dprintf(2, "%s\n", line);
    else if (strcmp(line, text) != 0) /* each try to reach a lost server fails with the same line */
        dprintf(2, "<4>" PROGRAM ": %s: %s\n", speaker, line);
    memcpy(text, line, sizeof text);
    return code;
}

const char *last_complaint(void)
{
    return text;
}

void complain_to_kernel(const char *name)
{
    int log = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

    if (log < 0)
        log = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd <= 2; fd++)
        dup2(log, fd);
    text[0] = '\0';
    speaker = name;
}
