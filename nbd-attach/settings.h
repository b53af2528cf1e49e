/* The command line: options, and HOST[:PORT][,HOST[:PORT]...]/EXPORT. */
#ifndef SETTINGS_H
#define SETTINGS_H

#include "types.h"

#define MAX_SERVERS 8
#define HOST_ROOM 16 /* bytes of a dotted IPv4 address */
#define PORT_ROOM 6

enum order { ATTACH, CHECK, SHOW, DETACH, HELP, VERSION };

/* What the command line asks for. */
struct settings {
    enum order order;
    int json;
    int force; /* swap may replace other data */
    const char *device; /* nbdN, or NULL */
    unsigned servers;
    char hosts[MAX_SERVERS][HOST_ROOM], ports[MAX_SERVERS][PORT_ROOM];
    struct area area; /* as far as options say it; its target is the first server's */
};

/* Read the command line and look up the names of servers. Return OK, or USAGE or CANNOT_CONNECT after
 * one complaint. May allocate memory: call it before swap depends on this process. */
int read_settings(char **words, struct settings *settings);

#endif
