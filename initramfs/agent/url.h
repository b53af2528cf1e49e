/* http://ADDRESS:PORT/PATH */
#ifndef URL_H
#define URL_H

#include <netinet/in.h>

struct url {
    struct sockaddr_in server;
    char path[160]; /* "": no URL */
};

/* Parse `text` into `url`; `name` is for the complaint. Return an exit code. */
int parse_url(const char *name, const char *text, struct url *url);

#endif
