/* Requests to the boot server. */
#ifndef HTTP_H
#define HTTP_H

#include <stddef.h>

struct url;

/* Send a request for `url` and put the body of the reply into `answer`, ended by a zero byte. If the
 * server does not answer, ask the other one once. Takes a bounded time. Return an exit code. */
int http_ask(const char *method, struct url *url, char *answer, size_t room);

#endif
