/* Bytes over TCP, each step in bounded time. */
#ifndef STREAM_H
#define STREAM_H

#include <stddef.h>
#include <stdint.h>

/* A connection whose steps have to end by the time `end`, even if their own limits are later. */
struct stream {
    int fd;
    int64_t end;
};

/* Wait until `events` happen (return 1), or until the earlier of `until` and the stream's end
 * (return 0). */
int wait_for(const struct stream *stream, short events, int64_t until);

/* Receive exactly `length` bytes; `what` is for the complaint. Return an exit code. */
int receive(const struct stream *stream, void *buffer, size_t length, const char *what);

/* Send exactly `length` bytes. `more` is MSG_MORE if they may wait for the next ones, or 0. Return an exit
 * code. */
int transmit(const struct stream *stream, const void *buffer, size_t length, int more);

#endif
