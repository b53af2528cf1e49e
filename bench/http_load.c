/* An HTTP load: N downloads of one path at a time until M are done. The kernel drops the payload
 * (MSG_TRUNC). Usage: http_load HOST PORT PATH BYTES AT_ONCE IN_ALL SECONDS
 * Prints: done failed bytes seconds cpu_seconds. A download is done when BYTES have arrived after
 * the head of a 200. Each has a connection of its own. One thread, one epoll. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 1024
#define PIECE (1 << 20)

struct download { int fd; size_t left; size_t head; char buffer[2048]; };

static struct download downloads[MOST];
static struct sockaddr_in server;
static char request[600];
static size_t size, bytes;
static int epoll, started, done, failed;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void begin(struct download *d) {
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = d };
    d->fd = socket(AF_INET, SOCK_STREAM, 0);
    d->left = size;
    d->head = 0;
    started++;
    if (d->fd < 0 || connect(d->fd, (void *)&server, sizeof server)) { perror("connect"); exit(2); }
    send(d->fd, request, strlen(request), MSG_NOSIGNAL);
    epoll_ctl(epoll, EPOLL_CTL_ADD, d->fd, &event);
}

static void end(struct download *d, int good, int in_all) {
    close(d->fd);
    d->fd = -1;
    if (good) done++; else failed++;
    if (started < in_all) begin(d);
}

/* Reads the head and the first bytes of the body. Returns -1 if there is no whole head of a 200. */
static int read_head(struct download *d) {
    ssize_t n = recv(d->fd, d->buffer + d->head, sizeof d->buffer - 1 - d->head, MSG_DONTWAIT);
    if (n <= 0) return -1;
    d->head += n;
    d->buffer[d->head] = 0;
    char *stop = strstr(d->buffer, "\r\n\r\n");
    if (!stop) return d->head < sizeof d->buffer - 1 ? 0 : -1;
    size_t body = d->head - (stop + 4 - d->buffer);
    d->head = sizeof d->buffer;
    if (strncmp(d->buffer, "HTTP/1.1 200", 12)) return -1;
    d->left -= body;
    bytes += body;
    return 0;
}

static void receive(struct download *d, int in_all) {
    if (d->head < sizeof d->buffer) {
        if (read_head(d)) end(d, 0, in_all);
        return;
    }
    ssize_t n = recv(d->fd, NULL, d->left < PIECE ? d->left : PIECE, MSG_DONTWAIT | MSG_TRUNC);
    if (n <= 0) { end(d, 0, in_all); return; }
    bytes += n;
    d->left -= n;
    if (!d->left) end(d, 1, in_all);
}

int main(int argc, char **argv) {
    if (argc != 8) return 2;
    int at_once = atoi(argv[5]), in_all = atoi(argv[6]);
    double seconds = atof(argv[7]);
    server = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(atoi(argv[2])) };
    if (!inet_pton(AF_INET, argv[1], &server.sin_addr) || at_once > MOST) return 2;
    size = strtoull(argv[4], NULL, 10);
    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", argv[3], argv[1]);
    epoll = epoll_create1(0);
    double start = now();
    for (int i = 0; i < at_once && i < in_all; i++) begin(&downloads[i]);
    while (done + failed < in_all && now() - start < seconds) {
        struct epoll_event events[256];
        int n = epoll_wait(epoll, events, 256, 100);
        for (int i = 0; i < n; i++) receive(events[i].data.ptr, in_all);
    }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("%d %d %zu %.4f %.3f\n", done, failed, bytes, now() - start,
           used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
    return 0;
}
