/* Bytes over TCP, each step in bounded time. */
#include "stream.h"
#include "agent.h"
#include "report.h"
#include "say.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* The time limit of a step: send, or receive one whole message. The server may be stopped for a
 * moment, or have a whole room to answer. */
#define STEP_MS 10000

int wait_for(const struct stream *stream, short events, int64_t until)
{
    struct pollfd waits[2] = {{.fd = stream->fd, .events = events}};

    return await(waits, 1, until < stream->end ? until : stream->end);
}

int receive(const struct stream *stream, void *buffer, size_t length, const char *what)
{
    int64_t until = now_ms() + STEP_MS;
    size_t got = 0;

    while (got < length) {
        ssize_t more = recv(stream->fd, (char *)buffer + got, length - got, MSG_DONTWAIT);

        if (more > 0)
            got += (size_t)more;
        else if (more == 0)
            return complain(CANNOT_CONNECT, "the server closed the connection before %s", what);
        else if (errno != EAGAIN && errno != EINTR)
            return complain(CANNOT_CONNECT, "waiting for %s: %s", what, strerror(errno));
        else if (!wait_for(stream, POLLIN, until))
            return complain(CANNOT_CONNECT, "no %s within %d s", what, STEP_MS / 1000);
    }
    return OK;
}

int transmit(const struct stream *stream, const void *buffer, size_t length, int more)
{
    int64_t until = now_ms() + STEP_MS;
    size_t sent = 0;

    while (sent < length) {
        ssize_t taken =
            send(stream->fd, (const char *)buffer + sent, length - sent, MSG_DONTWAIT | more);

        if (taken >= 0)
            sent += (size_t)taken;
        else if (errno != EAGAIN && errno != EINTR)
            return complain(CANNOT_CONNECT, "sending: %s", strerror(errno));
        else if (!wait_for(stream, POLLOUT, until))
            return complain(CANNOT_CONNECT, "the server takes no bytes for %d s", STEP_MS / 1000);
    }
    return OK;
}
