/* http://ADDRESS[,ADDRESS]:PORT/PATH */
#ifndef URL_H
#define URL_H

#include <netinet/in.h>

struct url {
    struct sockaddr_in server;
    struct in_addr other; /* of a second server, which is asked if the first one does not answer; or 0 */
    char path[160]; /* "": no URL */
};

/* Parse `text` into `url`; `name` is for the complaint. Return an exit code. */
int parse_url(const char *name, const char *text, struct url *url);

/* Ask the other server from now on. Return 0 if there is none. */
int other_server(struct url *url);

#endif
