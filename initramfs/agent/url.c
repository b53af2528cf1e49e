/* http://ADDRESS[,ADDRESS]:PORT/PATH */
#include "url.h"
#include "agent.h"
#include "say.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

int parse_url(const char *name, const char *text, struct url *url)
{
    static const char scheme[] = "http://";
    const char *host = text + sizeof scheme - 1, *port, *path;
    unsigned long number;
    char address[2 * INET_ADDRSTRLEN], *comma, *end;

    if (strncmp(text, scheme, sizeof scheme - 1) != 0 || !(port = strchr(host, ':')) ||
        !(path = strchr(port, '/')) || port - host >= (long)sizeof address ||
        strlen(path) >= sizeof url->path)
        return complain(USAGE, "%s: expected http://ADDRESS:PORT/PATH", name);
    memcpy(address, host, (size_t)(port - host));
    address[port - host] = '\0';
    comma = strchr(address, ',');
    if (comma)
        *comma++ = '\0';
    if (inet_pton(AF_INET, address, &url->server.sin_addr) != 1 ||
        (comma && inet_pton(AF_INET, comma, &url->other) != 1))
        return complain(USAGE, "%s: expected an IPv4 address, found '%s'", name, address);
    number = strtoul(port + 1, &end, 10);
    if (port[1] < '1' || port[1] > '9' || end != path || number > 65535)
        return complain(USAGE, "%s: expected a port, 1 to 65535", name);
    url->server.sin_family = AF_INET;
    url->server.sin_port = htons((uint16_t)number);
    strcpy(url->path, path);
    return OK;
}

int other_server(struct url *url)
{
    struct in_addr other = url->other;

    if (!other.s_addr)
        return 0;
    url->other = url->server.sin_addr;
    url->server.sin_addr = other;
    return 1;
}
