/* Requests to the boot server, in as much HTTP/1.0 as they need. */
#include "http.h"
#include "agent.h"
#include "report.h"
#include "say.h"
#include "url.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_MS 5000

/* Receive until the server closes the connection or `answer` is full, and end it with a zero byte.
 * Anybody on the way can write an answer, and its text goes to a console: other bytes than printable
 * ones and ends of lines become '?'. */
static void read_answer(int fd, char *answer, size_t room, int64_t until)
{
    struct pollfd waits[2] = {{.fd = fd, .events = POLLIN}};
    size_t got = 0;

    while (got < room - 1 && await(waits, 1, until)) {
        ssize_t more = recv(fd, answer + got, room - 1 - got, MSG_DONTWAIT);

        if (more <= 0)
            break;
        got += (size_t)more;
    }
    for (size_t at = 0; at < got; at++)
        if ((answer[at] < ' ' || answer[at] > '~') && answer[at] != '\r' && answer[at] != '\n')
            answer[at] = '?';
    answer[got] = '\0';
}

/* Ask one server; put its whole reply into `answer`. Return the reply's body, NULL if none came. */
static char *ask(const char *method, const struct url *url, char *answer, size_t room)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct pollfd waits[2] = {{.fd = fd, .events = POLLOUT}};
    int64_t until = now_ms() + ANSWER_MS;
    char *body = NULL;

    if (fd < 0)
        return NULL;
    connect(fd, (const struct sockaddr *)&url->server, sizeof url->server);
    if (await(waits, 1, until) && waits[0].revents == POLLOUT &&
        dprintf(fd, "%s %s HTTP/1.0\r\n\r\n", method, url->path) > 0) {
        read_answer(fd, answer, room, until);
        body = strstr(answer, "\r\n\r\n");
    }
    close(fd);
    return body;
}

int http_ask(const char *method, struct url *url, char *answer, size_t room)
{
    char *body = ask(method, url, answer, room);

    if (!body && other_server(url))
        body = ask(method, url, answer, room);
    if (!body)
        return complain(CANNOT_CONNECT, "%s port %u does not answer", inet_ntoa(url->server.sin_addr),
                        ntohs(url->server.sin_port));
    if (strncmp(answer, "HTTP/1.", 7) != 0 || strncmp(answer + 8, " 200 ", 5) != 0)
        return complain(REFUSED, "the boot server answers %.*s", (int)strcspn(answer, "\r\n"), answer);
    memmove(answer, body + 4, strlen(body + 4) + 1);
    return OK;
}
