/* An NBD load that is cheaper than the servers. One thread for each connection sends many requests
 * in one call and receives many replies in one. Fixed newstyle with simple replies, no TLS.
 *
 * Usage: nbd_load [options] nbd://HOST:PORT/EXPORT. `nbd_load --help` lists the options. It prints
 * one JSON object. If one connection fails, all of it fails: one line and status 1; status 2 for a
 * wrong command line. Latency is the time from before a request is sent until its reply is read. */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "nbd_wire.h"

#define MOST_CONNECTIONS 256
#define MOST_DEPTH 512 /* two parts for each request: IOV_MAX is 1024 */
#define MOST_BLOCK (32 << 20)
#define MOST_BYTES (1ull << 30) /* in flight, on all connections */
#define INPUT_BYTES (256 << 10) /* and a block, if it is verified */
#define MOST_DRAINED (64 << 10) /* of an option's reply */
#define MOST_REPLIES 64 /* to one option */
#define MOST_LOW_WATER (32 << 10)
#define PATIENCE_SECONDS 30
#define SUB_BITS 6 /* a bucket of the histogram is at most 1/64 of its value wide */
#define BUCKETS ((64 - SUB_BITS) << SUB_BITS)

struct slot { uint64_t offset, begun; int busy, reads; };

struct connection {
    pthread_t thread;
    int number, fd;
    uint64_t random, place; /* `place`: the block where a random load is */
    uint64_t next, first, end; /* in blocks: where a sequential load is, and its share */
    uint64_t quota, begun, done, measured, bytes, latency, slowest, sends, receives;
    struct slot slots[MOST_DEPTH];
    int unused[MOST_DEPTH], unused_count;
    struct request headers[MOST_DEPTH];
    struct iovec parts[2 * MOST_DEPTH];
    int part, part_count; /* the next one to send */
    unsigned char *input, *blocks; /* `blocks`: what a verified write of each slot sends */
    size_t have, position, room, left; /* `left`: of the payload of slot `current` */
    int current, low_water;
    uint32_t histogram[BUCKETS];
};

static struct {
    const char *uri;
    int connections, depth, batch, verify, random, reads_percent;
    uint64_t block, size, requests, seed, ramp_ns, run_ns;
} load = { .connections = 1, .depth = 1, .block = 4096 };
static struct connection *connections;
static unsigned char *fixed; /* the payload of a write that is not verified */
static uint64_t measure_from, measure_until;
static pthread_barrier_t barrier;

static void complain(const char *format, va_list words) {
    static atomic_flag said = ATOMIC_FLAG_INIT;
    char line[512];
    if (atomic_flag_test_and_set(&said)) for (;;) pause(); /* another thread ends the process */
    vsnprintf(line, sizeof line, format, words);
    fprintf(stderr, "nbd_load: %s\n", line);
}

__attribute__((noreturn, format(printf, 1, 2))) static void misused(const char *format, ...) {
    va_list words;
    va_start(words, format);
    complain(format, words);
    va_end(words);
    _exit(2);
}

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...) {
    va_list words;
    va_start(words, format);
    complain(format, words);
    va_end(words);
    _exit(1);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static uint64_t mixed(uint64_t x) { /* splitmix64 */
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

static uint64_t word_at(uint64_t offset) { return mixed(offset ^ load.seed << 40); }

static void fill(unsigned char *block, uint64_t offset) {
    for (uint64_t at = 0; at < load.block; at += 8) {
        uint64_t word = word_at(offset + at);
        memcpy(block + at, &word, 8);
    }
}

static void verify(const struct connection *c, const unsigned char *block, uint64_t offset) {
    for (uint64_t at = 0; at < load.block; at += 8) {
        uint64_t word = word_at(offset + at);
        if (memcmp(block + at, &word, 8))
            fail("connection %d: wrong contents at offset %llu: not those of --seed %llu", c->number,
                 (unsigned long long)(offset + at), (unsigned long long)load.seed);
    }
}

/* The handshake. */

static void push(int number, int fd, const void *data, size_t length) {
    if (send(fd, data, length, MSG_NOSIGNAL) != (ssize_t)length)
        fail("connection %d: handshake: cannot send: %s", number, strerror(errno));
}

static void pull(int number, int fd, void *data, size_t length) {
    if (!length) return;
    ssize_t n = recv(fd, data, length, MSG_WAITALL);
    if (n != (ssize_t)length)
        fail("connection %d: handshake: %s", number,
             n < 0 ? strerror(errno) : "closed by the server");
}

static int connected(int number, const char *host, const char *port) {
    struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *found;
    struct timeval patience = { .tv_sec = PATIENCE_SECONDS };
    int yes = 1, status = getaddrinfo(host, port, &hints, &found);
    if (status) fail("%s: %s", load.uri, gai_strerror(status));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen))
        fail("connection %d: cannot connect to %s: %s", number, load.uri, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    freeaddrinfo(found);
    return fd;
}

/* Returns the size of the export. */
static uint64_t go(int number, int fd, const char *export, int writes) {
    struct hello hello;
    uint32_t name_length = strlen(export), flags, name_be = htobe32(name_length);
    struct asked asked = { htobe64(OPTION_MAGIC), htobe32(OPT_GO), htobe32(name_length + 6) };
    struct info info = { 0 };
    pull(number, fd, &hello, sizeof hello);
    if (be64toh(hello.magic) != NBD_MAGIC || be64toh(hello.ihaveopt) != OPTION_MAGIC
        || !(be16toh(hello.flags) & 1))
        fail("connection %d: handshake: not a fixed newstyle NBD server", number);
    flags = htobe32(be16toh(hello.flags) & 3);
    push(number, fd, &flags, 4);
    push(number, fd, &asked, sizeof asked);
    push(number, fd, &name_be, 4);
    if (name_length) push(number, fd, export, name_length);
    push(number, fd, "\0\0", 2); /* no requests for information */
    for (int replies = 0; replies < MOST_REPLIES; replies++) {
        struct answered reply;
        char data[MOST_DRAINED + 1];
        pull(number, fd, &reply, sizeof reply);
        uint32_t type = be32toh(reply.type), length = be32toh(reply.length);
        if (be64toh(reply.magic) != OPTION_REPLY_MAGIC || length > MOST_DRAINED)
            fail("connection %d: handshake: invalid reply", number);
        pull(number, fd, data, length);
        data[length] = 0;
        if (type & REP_ERROR)
            fail("connection %d: the server refuses export '%s': error %u %s", number, export,
                 type & ~REP_ERROR, data);
        if (type == REP_INFO && length >= sizeof info && !data[0] && data[1] == INFO_EXPORT)
            memcpy(&info, data, sizeof info);
        if (type == REP_ACK) {
            if (writes && be16toh(info.flags) & READ_ONLY)
                fail("connection %d: export '%s' is read-only", number, export);
            return be64toh(info.size);
        }
    }
    fail("connection %d: handshake: too many replies", number);
}

/* The load. */

static uint64_t next_random(struct connection *c) {
    c->random ^= c->random << 13;
    c->random ^= c->random >> 7;
    c->random ^= c->random << 17;
    return c->random;
}

/* Return the blocks in an order that looks random, each of them once before any comes again, as fio does:
 * a page that was read before would come from the server's cache. A linear congruential generator with
 * these constants has each number below a power of two once (Hull and Dobell 1962). */
static uint64_t next_scattered(struct connection *c, uint64_t blocks) {
    uint64_t below = 1;
    while (below < blocks) below <<= 1;
    do c->place = (c->place * 0x5851f42d4c957f2dull + 0x14057b7ef767814full) & (below - 1);
    while (c->place >= blocks);
    return c->place;
}

static uint64_t next_offset(struct connection *c) {
    uint64_t blocks = load.size / load.block;
    if (load.random) return next_scattered(c, blocks) * load.block;
    uint64_t block = c->next++;
    if (c->next == c->end) c->next = c->first;
    return block * load.block;
}

static void add_part(struct connection *c, void *data, size_t length) {
    struct iovec *last = c->part_count ? &c->parts[c->part_count - 1] : NULL;
    if (last && (char *)last->iov_base + last->iov_len == (char *)data)
        last->iov_len += length;
    else
        c->parts[c->part_count++] = (struct iovec){ data, length };
}

/* Makes requests of all unused slots, up to the quota. */
static void begin(struct connection *c, uint64_t now) {
    c->part = c->part_count = 0;
    for (int n = 0; c->unused_count && c->begun < c->quota; n++) {
        int number = c->unused[--c->unused_count];
        struct slot *slot = &c->slots[number];
        int reads = load.reads_percent == 100
            || (load.reads_percent && (next_random(c) >> 32) % 100 < (uint64_t)load.reads_percent);
        *slot = (struct slot){ next_offset(c), now, 1, reads };
        c->headers[n] = (struct request){ htobe32(REQUEST_MAGIC), 0, htobe16(reads ? READ : WRITE),
                                          htobe64(number), htobe64(slot->offset), htobe32(load.block) };
        add_part(c, &c->headers[n], sizeof c->headers[n]);
        if (!reads) {
            unsigned char *payload = load.verify ? c->blocks + number * load.block : fixed;
            if (load.verify) fill(payload, slot->offset);
            add_part(c, payload, load.block);
        }
        c->begun++;
    }
}

/* Sends as much as the socket takes. */
static void send_parts(struct connection *c) {
    struct msghdr message = { .msg_iov = c->parts + c->part, .msg_iovlen = c->part_count - c->part };
    ssize_t n = sendmsg(c->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        fail("connection %d: cannot send: %s", c->number, strerror(errno));
    c->sends++;
    while (n > 0) {
        struct iovec *part = &c->parts[c->part];
        size_t taken = (size_t)n < part->iov_len ? (size_t)n : part->iov_len;
        part->iov_base = (char *)part->iov_base + taken;
        part->iov_len -= taken;
        n -= taken;
        if (!part->iov_len) c->part++;
    }
}

static int bucket_of(uint64_t value) {
    int high = 63 - __builtin_clzll(value | 1);
    if (high <= SUB_BITS) return value;
    return ((high - SUB_BITS) << SUB_BITS) + (int)(value >> (high - SUB_BITS));
}

static uint64_t value_of(int bucket) { /* the upper end */
    if (bucket < 2 << SUB_BITS) return bucket;
    int shift = (bucket >> SUB_BITS) - 1;
    uint64_t top = (bucket & ((1 << SUB_BITS) - 1)) + (1 << SUB_BITS);
    return ((top + 1) << shift) - 1;
}

static void end(struct connection *c, int number, uint64_t now) {
    struct slot *slot = &c->slots[number];
    slot->busy = 0;
    c->unused[c->unused_count++] = number;
    c->done++;
    if (now < measure_from || now > measure_until) return;
    uint64_t took = now - slot->begun;
    c->measured++;
    c->latency += took;
    if (took > c->slowest) c->slowest = took;
    c->histogram[bucket_of(took)]++;
}

static void parse(struct connection *c, uint64_t now) {
    for (;;) {
        size_t ready = c->have - c->position;
        if (c->left) {
            size_t taken = ready < c->left ? ready : c->left;
            if (load.verify) {
                if (taken < c->left) break;
                verify(c, c->input + c->position, c->slots[c->current].offset);
            }
            c->position += taken;
            c->left -= taken;
            if (c->left) break;
            end(c, c->current, now);
            continue;
        }
        struct simple reply;
        if (ready < sizeof reply) break;
        memcpy(&reply, c->input + c->position, sizeof reply);
        uint64_t cookie = be64toh(reply.cookie);
        if (be32toh(reply.magic) != SIMPLE_MAGIC)
            fail("connection %d: not a simple reply: magic %08x", c->number, be32toh(reply.magic));
        if (cookie >= (uint64_t)load.depth || !c->slots[cookie].busy)
            fail("connection %d: reply to no request", c->number);
        if (reply.error)
            fail("connection %d: %s at offset %llu: error %u", c->number,
                 c->slots[cookie].reads ? "read" : "write",
                 (unsigned long long)c->slots[cookie].offset, be32toh(reply.error));
        c->position += sizeof reply;
        if (c->slots[cookie].reads) {
            c->current = cookie;
            c->left = load.block;
        } else {
            end(c, cookie, now);
        }
    }
    memmove(c->input, c->input + c->position, c->have -= c->position);
    c->position = 0;
}

static void set_low_water(struct connection *c, int bytes) {
    if (c->low_water == bytes) return;
    setsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes);
    c->low_water = bytes;
}

/* Waits for room or for replies. Returns whether there are replies. */
static int await(struct connection *c) {
    struct pollfd watched = { .fd = c->fd, .events = POLLIN | POLLOUT };
    int ready = poll(&watched, 1, PATIENCE_SECONDS * 1000);
    if (!ready) fail("connection %d: the server took no request for %d s", c->number, PATIENCE_SECONDS);
    return ready > 0 && watched.revents & ~POLLOUT;
}

static void receive(struct connection *c) {
    ssize_t n = recv(c->fd, c->input + c->have, c->room - c->have, 0);
    if (n < 0 && errno == EINTR) return;
    if (n < 0 && errno == EAGAIN)
        fail("connection %d: no reply for %d s", c->number, PATIENCE_SECONDS);
    if (n <= 0)
        fail("connection %d: %s", c->number, n ? strerror(errno) : "closed by the server");
    c->have += n;
    c->receives++;
}

static void *run(void *argument) {
    struct connection *c = argument;
    /* Replies to wait for before the thread wakes. Fewer than half are on their way at any time, so
     * they come. A reply of a mixed load may be a header only. */
    uint64_t wanted = load.batch * (16 + (load.reads_percent == 100 ? load.block : 0));
    int low_water = load.batch < 2 ? 1 : wanted < MOST_LOW_WATER ? (int)wanted : MOST_LOW_WATER;
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier); /* measure_from was set between */
    uint64_t now = now_ns();
    c->low_water = 1;
    for (;;) {
        int goes_on = c->begun < c->quota && now < measure_until;
        if (!goes_on && c->unused_count == load.depth) break;
        if (goes_on && c->part == c->part_count && c->unused_count >= load.batch) begin(c, now);
        set_low_water(c, goes_on && c->begun < c->quota ? low_water : 1);
        if (c->part < c->part_count) {
            send_parts(c);
            if (c->part < c->part_count && !await(c)) continue;
        }
        receive(c);
        now = now_ns();
        parse(c, now);
    }
    struct request bye = { htobe32(REQUEST_MAGIC), 0, htobe16(DISC), 0, 0, 0 };
    send(c->fd, &bye, sizeof bye, MSG_NOSIGNAL);
    shutdown(c->fd, SHUT_WR);
    return NULL;
}

static double cpu_seconds(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static double percentile(const uint64_t *histogram, uint64_t count, double share) {
    uint64_t seen = 0, wanted = count * share;
    for (int bucket = 0; bucket < BUCKETS; bucket++) {
        seen += histogram[bucket];
        if (seen > wanted) return value_of(bucket) / 1e3;
    }
    return 0;
}

static void report(double seconds, double cpu) {
    static uint64_t histogram[BUCKETS];
    uint64_t done = 0, measured = 0, latency = 0, slowest = 0, sends = 0, receives = 0;
    for (int i = 0; i < load.connections; i++) {
        struct connection *c = &connections[i];
        if (!c->measured) fail("connection %d: no request was answered in the measured time", i);
        done += c->done;
        measured += c->measured;
        latency += c->latency;
        sends += c->sends;
        receives += c->receives;
        if (c->slowest > slowest) slowest = c->slowest;
        for (int bucket = 0; bucket < BUCKETS; bucket++) histogram[bucket] += c->histogram[bucket];
    }
    double p99 = percentile(histogram, measured, 0.99), p50 = percentile(histogram, measured, 0.5);
    double max = slowest / 1e3;
    printf("{\"requests\": %llu, \"measured\": %llu, \"seconds\": %.6f, \"iops\": %.1f, \"mb_per_s\": %.3f, "
           "\"mean_us\": %.3f, \"p50_us\": %.3f, \"p99_us\": %.3f, \"max_us\": %.3f, \"cpu_us\": %.4f, "
           "\"sends\": %llu, \"receives\": %llu, \"connections\": %d}\n",
           (unsigned long long)done, (unsigned long long)measured, seconds, measured / seconds,
           measured * load.block / seconds / 1e6, latency / 1e3 / measured, p50 < max ? p50 : max,
           p99 < max ? p99 : max, max, cpu / done * 1e6, (unsigned long long)sends,
           (unsigned long long)receives, load.connections);
}

/* The command line. */

static const char HELP[] =
    "usage: nbd_load [options] nbd://HOST:PORT/EXPORT\n"
    "  --mode MODE       read, write, randread, randwrite, rw, randrw (default: randread)\n"
    "  --reads PERCENT   share of reads in rw and randrw (default: 70)\n"
    "  --block BYTES     of one request (default: 4096)\n"
    "  --size BYTES      of the export that is used, from its begin (default: all)\n"
    "  --connections N   default: 1\n"
    "  --depth N         requests in flight on each connection (default: 1)\n"
    "  --batch N         replies to wait for before more is sent (default: a quarter of the depth)\n"
    "  --seconds S       measured time; or\n"
    "  --requests N      in all\n"
    "  --ramp S          time before the measured one (default: 0)\n"
    "  --verify          write contents that depend on the offset, and expect them in reads\n"
    "  --seed N          of these contents (default: 0)\n";

static uint64_t number(const char *name, const char *text, uint64_t least, uint64_t most) {
    char *rest;
    errno = 0;
    unsigned long long value = strtoull(text, &rest, 10);
    if (errno || *rest || *text < '0' || *text > '9' || value < least || value > most)
        misused("--%s: expected a number from %llu to %llu, found '%s'", name,
                (unsigned long long)least, (unsigned long long)most, text);
    return value;
}

static uint64_t nanoseconds(const char *name, const char *text) {
    char *rest;
    double value = strtod(text, &rest);
    if (*rest || rest == text || !(value >= 0 && value <= 3600))
        misused("--%s: expected seconds from 0 to 3600, found '%s'", name, text);
    return value * 1e9;
}

static void set_mode(const char *mode, int reads_percent) {
    const char *plain = strncmp(mode, "rand", 4) ? mode : mode + 4;
    load.random = plain != mode;
    if (!strcmp(plain, "read")) load.reads_percent = 100;
    else if (!strcmp(plain, "write")) load.reads_percent = 0;
    else if (!strcmp(plain, "rw")) load.reads_percent = reads_percent;
    else misused("--mode: expected read, write, randread, randwrite, rw or randrw, found '%s'", mode);
}

static void parse_options(int argc, char **argv) {
    static const struct option OPTIONS[] = {
        { "mode", 1, NULL, 'm' }, { "reads", 1, NULL, 'R' }, { "block", 1, NULL, 'b' },
        { "size", 1, NULL, 's' }, { "connections", 1, NULL, 'c' }, { "depth", 1, NULL, 'd' },
        { "batch", 1, NULL, 'B' }, { "seconds", 1, NULL, 't' }, { "requests", 1, NULL, 'n' },
        { "ramp", 1, NULL, 'r' }, { "verify", 0, NULL, 'v' }, { "seed", 1, NULL, 'S' },
        { "help", 0, NULL, 'h' }, { NULL, 0, NULL, 0 },
    };
    int letter, at, reads_percent = 70;
    const char *mode = "randread";
    opterr = 0;
    while ((letter = getopt_long(argc, argv, "", OPTIONS, &at)) != -1) {
        const char *name = letter == '?' ? "" : OPTIONS[at].name;
        switch (letter) {
        case 'm': mode = optarg; break;
        case 'R': reads_percent = number(name, optarg, 0, 100); break;
        case 'b': load.block = number(name, optarg, 512, MOST_BLOCK); break;
        case 's': load.size = number(name, optarg, 512, INT64_MAX); break;
        case 'c': load.connections = number(name, optarg, 1, MOST_CONNECTIONS); break;
        case 'd': load.depth = number(name, optarg, 1, MOST_DEPTH); break;
        case 'B': load.batch = number(name, optarg, 1, MOST_DEPTH); break;
        case 't': load.run_ns = nanoseconds(name, optarg); break;
        case 'n': load.requests = number(name, optarg, 1, 1ull << 48); break;
        case 'r': load.ramp_ns = nanoseconds(name, optarg); break;
        case 'v': load.verify = 1; break;
        case 'S': load.seed = number(name, optarg, 0, UINT32_MAX); break;
        case 'h': fputs(HELP, stdout); exit(0);
        default: misused("unknown option or no value: '%s'; see --help", argv[optind - 1]);
        }
    }
    if (optind != argc - 1) misused("expected one URI, nbd://HOST:PORT/EXPORT, found %d", argc - optind);
    load.uri = argv[optind];
    set_mode(mode, reads_percent);
    if (!load.batch) load.batch = load.depth < 8 ? 1 : load.depth / 4;
    if (load.batch > 1 && load.batch > load.depth / 2)
        misused("--batch: expected at most half of --depth, found %d", load.batch);
    if (load.block % 512) misused("--block: expected a multiple of 512, found %llu", (unsigned long long)load.block);
    if (load.block * load.depth * load.connections > MOST_BYTES)
        misused("--block, --depth and --connections: expected at most 1 GiB in flight");
    if (!load.run_ns == !load.requests) misused("expected either --seconds or --requests");
    if (load.requests && load.ramp_ns) misused("--ramp: only with --seconds");
    if (load.requests && load.requests < (uint64_t)load.connections)
        misused("--requests: expected one for each connection or more");
}

static void *room_for(size_t bytes) {
    void *room = calloc(1, bytes);
    if (!room) fail("no memory");
    return room;
}

static void open_connection(struct connection *c, int which) {
    char host[256], port[6], export[4097] = "";
    if (sscanf(load.uri, "nbd://%255[^:/]:%5[0-9]/%4096[^\n]", host, port, export) < 2)
        misused("expected nbd://HOST:PORT/EXPORT, found '%s'", load.uri);
    c->number = which;
    c->fd = connected(which, host, port);
    uint64_t size = go(which, c->fd, export, load.reads_percent < 100);
    if (!load.size) load.size = size;
    if (load.size > size)
        misused("--size: expected at most the %llu bytes of the export, found %llu",
                (unsigned long long)size, (unsigned long long)load.size);
    uint64_t blocks = load.size / load.block;
    if (blocks < (uint64_t)load.connections)
        misused("--size: expected one block for each connection or more");
    c->random = mixed(which + 1) | 1;
    c->place = c->random % blocks;
    c->next = c->first = blocks * which / load.connections;
    c->end = blocks * (which + 1) / load.connections;
    c->quota = load.requests * (which + 1) / load.connections - load.requests * which / load.connections;
    if (!load.requests) c->quota = UINT64_MAX;
    c->room = INPUT_BYTES + (load.verify ? load.block : 0);
    c->input = room_for(c->room);
    if (load.verify && load.reads_percent < 100) c->blocks = room_for(load.block * load.depth);
    for (int i = 0; i < load.depth; i++) c->unused[c->unused_count++] = i;
}

int main(int argc, char **argv) {
    parse_options(argc, argv);
    connections = room_for(sizeof *connections * load.connections);
    fixed = room_for(load.block);
    fill(fixed, 0);
    for (int i = 0; i < load.connections; i++) open_connection(&connections[i], i);
    pthread_barrier_init(&barrier, NULL, load.connections + 1);
    for (int i = 0; i < load.connections; i++)
        if (pthread_create(&connections[i].thread, NULL, run, &connections[i])) fail("no thread");
    pthread_barrier_wait(&barrier);
    double cpu = cpu_seconds();
    uint64_t start = now_ns();
    measure_from = start + load.ramp_ns;
    measure_until = load.requests ? UINT64_MAX : measure_from + load.run_ns;
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < load.connections; i++) pthread_join(connections[i].thread, NULL);
    report((load.requests ? now_ns() - start : load.run_ns) / 1e9, cpu_seconds() - cpu);
    return 0;
}
