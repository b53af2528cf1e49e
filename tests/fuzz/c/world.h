/* The agent's system calls, played: this header is included before each file of the agent, and world.c
 * has the functions. An input is all that the network, the kernel and a file say.
 *
 * The agent's own printf family gets names of its own, because the fuzzer needs the C library's.
 */
#ifndef WORLD_H
#define WORLD_H

#define _GNU_SOURCE
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

int world_socket(int family, int type, int protocol);
int world_connect(int fd, const struct sockaddr *address, socklen_t length);
ssize_t world_recv(int fd, void *buffer, size_t length, int flags);
ssize_t world_send(int fd, const void *buffer, size_t length, int flags);
int world_poll(struct pollfd *waits, nfds_t count, int milliseconds);
int world_close(int fd);
int world_clock(clockid_t clock, struct timespec *now);
ssize_t world_write(int fd, const void *buffer, size_t length);
ssize_t world_pread(int fd, void *buffer, size_t length, off_t at);
int world_sysinfo(struct sysinfo *info);
char *world_getenv(const char *name);

int agent_snprintf(char *text, size_t room, const char *format, ...);
int agent_vsnprintf(char *text, size_t room, const char *format, va_list arguments);
int agent_dprintf(int fd, const char *format, ...);
int agent_main(int count, char **arguments);

#define socket world_socket
#define connect world_connect
#define recv world_recv
#define send world_send
#define poll world_poll
#define close world_close
#define clock_gettime world_clock
#define write world_write
#define pread world_pread
#define sysinfo(info) world_sysinfo(info)
#define getenv world_getenv
#define snprintf agent_snprintf
#define vsnprintf agent_vsnprintf
#define dprintf agent_dprintf
#define main agent_main

#define TOKEN "dfce9422dbb775ff1a5c092529aac87d" /* the PC's secret, in targets that look for it */

/* Begin an input: the peers say `data`, in pieces whose lengths follow from `seed`. */
void world_begin(const uint8_t *data, size_t size, unsigned seed);

/* The environment of the agent: pairs of name and value, ended by NULL. */
extern const char *world_environment[7];

/* Set what sysinfo(2) tells of swap, in bytes. */
void world_swap(unsigned long total, unsigned long unused);

/* All that the agent has printed, and all that it has sent since world_begin(). */
extern char world_printed[1 << 16], world_sent[1 << 16];
extern size_t world_printed_bytes, world_sent_bytes;

/* End the program as a crash does unless `holds`. */
void expect(int holds, const char *what);

/* Expect printable text in all that the agent has printed. */
void expect_fit_for_a_console(void);

#endif
