/* A TFTP load: N downloads of one file at a time until M are done, each verified byte by byte.
 * Usage: tftp_load HOST PORT NAME FILE BLKSIZE WINDOWSIZE AT_ONCE IN_ALL SECONDS
 * Prints: done failed bytes seconds granted_windowsize cpu_seconds. A download repeats its request
 * or ACK after 1 s of silence, and fails after 5 silences or an ERROR. One thread, one epoll. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MOST 1024
#define BATCH 64
#define PACKET 9000
enum { RRQ = 1, DATA = 3, ACK = 4, ERROR = 5, OACK = 6 };

struct download { int fd, connected, silences; size_t block, window, unacknowledged; double heard; };

static struct download downloads[MOST];
static char room[BATCH][PACKET], request[600];
static struct mmsghdr messages[BATCH];
static struct iovec parts[BATCH];
static struct sockaddr_in server, sources[BATCH];
static size_t blksize, request_length, size, bytes;
static const char *content;
static int epoll, started, done, failed, granted = 1;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void ask(struct download *d) {
    sendto(d->fd, request, request_length, 0, (void *)&server, sizeof server);
}

static void begin(struct download *d) {
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = d };
    int room_bytes = 4 << 20;
    *d = (struct download){ .fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), .window = 1, .heard = now() };
    if (d->fd < 0) { perror("socket"); exit(2); }
    setsockopt(d->fd, SOL_SOCKET, SO_RCVBUF, &room_bytes, sizeof room_bytes);
    epoll_ctl(epoll, EPOLL_CTL_ADD, d->fd, &event);
    started++;
    ask(d);
}

static void end(struct download *d, int good, int in_all) {
    close(d->fd);
    d->fd = -1;
    if (good) done++; else failed++;
    if (started < in_all) begin(d);
}

static void acknowledge(struct download *d) {
    uint16_t packet[2] = { htons(ACK), htons(d->block) };
    d->unacknowledged = 0;
    send(d->fd, packet, sizeof packet, 0);
}

/* Reads our options of an OACK. An absent option has its default. */
static void agree(struct download *d, size_t *own_blksize, char *at, char *stop) {
    *own_blksize = 512;
    while (at < stop) {
        char *value = at + strnlen(at, stop - at) + 1;
        if (value >= stop) break;
        if (!strcasecmp(at, "blksize")) *own_blksize = atoi(value);
        if (!strcasecmp(at, "windowsize")) d->window = granted = atoi(value);
        at = value + strnlen(value, stop - value) + 1;
    }
}

/* Returns 0 to continue, 1 if the download is complete, -1 if it has failed. */
static int take(struct download *d, char *packet, size_t length) {
    size_t own_blksize;
    if (length < 4) return 0;
    switch (ntohs(*(uint16_t *)packet)) {
    case OACK:
        if (d->block) return 0;
        packet[length] = 0;
        agree(d, &own_blksize, packet + 2, packet + length);
        if (own_blksize != blksize) { fprintf(stderr, "blksize %zu granted\n", own_blksize); return -1; }
        acknowledge(d);
        return 0;
    case DATA: {
        size_t payload = length - 4, at = d->block * blksize;
        if (ntohs(*(uint16_t *)(packet + 2)) != (uint16_t)(d->block + 1)) {
            if (d->window > 1 && d->unacknowledged) acknowledge(d); /* a gap: RFC 7440, section 4 */
            return 0;
        }
        if (at + payload > size || memcmp(packet + 4, content + at, payload)) {
            fprintf(stderr, "block %zu is wrong\n", d->block + 1);
            return -1;
        }
        d->block++;
        bytes += payload;
        int last = payload < blksize;
        if (++d->unacknowledged >= d->window || last) acknowledge(d);
        return last ? (at + payload == size ? 1 : -1) : 0;
    }
    case ERROR:
        fprintf(stderr, "error: %.*s\n", (int)(length - 4), packet + 4);
        return -1;
    }
    return 0;
}

static void receive(struct download *d, int in_all) {
    for (int i = 0; i < BATCH; i++) messages[i].msg_hdr.msg_namelen = sizeof sources[i];
    int most = d->window > 1 ? BATCH : 1;
    int n = recvmmsg(d->fd, messages, most, MSG_DONTWAIT, NULL);
    if (n <= 0) return;
    if (!d->connected) {
        connect(d->fd, (void *)&sources[0], sizeof sources[0]);
        d->connected = 1;
    }
    d->heard = now();
    d->silences = 0;
    for (int i = 0; i < n; i++) {
        int state = take(d, room[i], messages[i].msg_len);
        if (state) { end(d, state > 0, in_all); return; }
    }
}

static void nudge(struct download *d, int in_all) {
    d->heard = now();
    if (++d->silences > 5) end(d, 0, in_all);
    else if (d->connected) acknowledge(d);
    else ask(d);
}

int main(int argc, char **argv) {
    if (argc != 10) return 2;
    int at_once = atoi(argv[7]), in_all = atoi(argv[8]);
    double seconds = atof(argv[9]), looked = 0;
    struct stat status;
    server = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(atoi(argv[2])) };
    if (!inet_pton(AF_INET, argv[1], &server.sin_addr) || at_once > MOST) return 2;
    int file = open(argv[4], O_RDONLY);
    if (file < 0 || fstat(file, &status)) return perror(argv[4]), 2;
    size = status.st_size;
    content = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    blksize = atoi(argv[5]);
    request_length = 2 + sprintf(request + 2, "%s%coctet%cblksize%c%zu", argv[3], 0, 0, 0, blksize) + 1;
    if (atoi(argv[6]) > 1)
        request_length += sprintf(request + request_length, "windowsize%c%s", 0, argv[6]) + 1;
    request[1] = RRQ;
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){ room[i], PACKET - 1 };
        messages[i].msg_hdr = (struct msghdr){ .msg_name = &sources[i], .msg_iov = &parts[i], .msg_iovlen = 1 };
    }
    epoll = epoll_create1(0);
    double start = now();
    for (int i = 0; i < MOST; i++) downloads[i].fd = -1;
    for (int i = 0; i < at_once && i < in_all; i++) begin(&downloads[i]);
    while (done + failed < in_all && now() - start < seconds) {
        struct epoll_event events[256];
        int n = epoll_wait(epoll, events, 256, 100);
        for (int i = 0; i < n; i++) receive(events[i].data.ptr, in_all);
        if (now() - looked < 0.1) continue;
        looked = now();
        for (int i = 0; i < at_once; i++)
            if (downloads[i].fd >= 0 && looked - downloads[i].heard > 1) nudge(&downloads[i], in_all);
    }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("%d %d %zu %.4f %d %.3f\n", done, failed, bytes, now() - start, granted,
           used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
    return 0;
}
