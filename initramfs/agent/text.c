/* printf's family and strstr, in place of the C library's. The C library prints floating point of every
 * kind: that code would be a sixth of the agent on a 64-bit x86, and more where it is emulated. Its strstr
 * is made for long texts, and takes 1.5 KB.
 *
 * Conversions: %s %.*s %d %u %x %f. Numbers take `l`, `ll` or `z`, leading zeros (%02d) and up to nine
 * decimals (%.2f).
 */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PIECE 512 /* bytes of one write: a message to the kernel's log is one */

struct output {
    char *text;
    size_t room, used;
    int fd;    /* gets the text when it is full; -1: further letters are only counted */
    int total; /* letters, including those without room */
};

static void flush(struct output *output)
{
    if (output->used && write(output->fd, output->text, output->used) < 0)
        output->total = -1;
    output->used = 0;
}

static void put(struct output *output, char letter)
{
    if (output->used == output->room && output->fd >= 0)
        flush(output);
    if (output->used < output->room)
        output->text[output->used++] = letter;
    if (output->total >= 0)
        output->total++;
}

static void put_number(struct output *output, unsigned long long value, unsigned base, int least)
{
    char digits[20];
    int count = 0;

    do {
        digits[count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value || count < least);
    while (count)
        put(output, digits[--count]);
}

static void put_seconds(struct output *output, double value, int digits)
{
    unsigned long long scale = 1;

    for (int digit = 0; digit < digits; digit++)
        scale *= 10;
    value = value * (double)scale + 0.5;
    put_number(output, (unsigned long long)value / scale, 10, 1);
    put(output, '.');
    put_number(output, (unsigned long long)value % scale, 10, digits);
}

static int decimal(const char **at)
{
    int value = 0;

    while (**at >= '0' && **at <= '9')
        value = value * 10 + *(*at)++ - '0';
    return value;
}

static void print(struct output *output, const char *format, va_list arguments)
{
    for (; *format; format++) {
        int least = 1, most = -1, longs = 0, is_size = 0;
        unsigned long long value;
        const char *text;

        if (*format != '%') {
            put(output, *format);
            continue;
        }
        format++;
        if (*format == '0')
            least = decimal(&format);
        if (*format == '.' && format[1] == '*') {
            most = va_arg(arguments, int);
            format += 2;
        } else if (*format == '.') {
            format++;
            most = decimal(&format);
        }
        for (; *format == 'l'; format++)
            longs++;
        if (*format == 'z') {
            is_size = 1;
            format++;
        }
        switch (*format) {
        case 's':
            text = va_arg(arguments, const char *);
            for (; most != 0 && *text; most--)
                put(output, *text++);
            break;
        case 'f':
            put_seconds(output, va_arg(arguments, double), most);
            break;
        case 'd':
            value = longs > 1 ? va_arg(arguments, unsigned long long)
                    : longs   ? (unsigned long long)va_arg(arguments, long)
                              : (unsigned long long)va_arg(arguments, int);
            if ((long long)value < 0) {
                put(output, '-');
                value = 0 - value;
            }
            put_number(output, value, 10, least);
            break;
        default: /* u or x */
            value = longs > 1          ? va_arg(arguments, unsigned long long)
                    : longs || is_size ? va_arg(arguments, unsigned long)
                                       : va_arg(arguments, unsigned);
            put_number(output, value, *format == 'x' ? 16 : 10, least);
        }
    }
}

int vsnprintf(char *text, size_t room, const char *format, va_list arguments)
{
    struct output output = {.text = text, .room = room - 1, .fd = -1};

    print(&output, format, arguments);
    text[output.used] = '\0';
    return output.total;
}

int snprintf(char *text, size_t room, const char *format, ...)
{
    va_list arguments;
    int total;

    va_start(arguments, format);
    total = vsnprintf(text, room, format, arguments);
    va_end(arguments);
    return total;
}

int dprintf(int fd, const char *format, ...)
{
    char piece[PIECE];
    struct output output = {.text = piece, .room = sizeof piece, .fd = fd};
    va_list arguments;

    va_start(arguments, format);
    print(&output, format, arguments);
    va_end(arguments);
    flush(&output);
    return output.total;
}

char *strstr(const char *text, const char *wanted)
{
    for (size_t length = strlen(wanted); strncmp(text, wanted, length) != 0; text++)
        if (!*text)
            return NULL;
    return (char *)text;
}
