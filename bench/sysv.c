/* The yardstick of 1997: 4 KiB over System V message queues, request and answer, between two
 * processes. Usage: sysv ROUNDS. Prints nanoseconds for each round trip. Both processes have the
 * CPU affinity of the caller. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct { long type; char page[4096]; } message = { 1, "" };

static void pass(int from, int to) {
    if (msgrcv(from, &message, sizeof message.page, 0, 0) < 0) _exit(1);
    if (msgsnd(to, &message, sizeof message.page, 0) < 0) _exit(1);
}

int main(int argc, char **argv) {
    long rounds = argc == 2 ? atol(argv[1]) : 0;
    int ask = msgget(IPC_PRIVATE, 0600), answer = msgget(IPC_PRIVATE, 0600), status = 1;
    struct timespec begin, end;
    if (rounds < 1 || ask < 0 || answer < 0) return 2;
    pid_t child = fork();
    if (child == 0) {
        for (long i = 0; i < rounds; i++) pass(ask, answer);
        _exit(0);
    }
    clock_gettime(CLOCK_MONOTONIC, &begin);
    if (msgsnd(ask, &message, sizeof message.page, 0) == 0) {
        for (long i = 1; i < rounds; i++) pass(answer, ask);
        msgrcv(answer, &message, sizeof message.page, 0, 0);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    waitpid(child, &status, 0);
    msgctl(ask, IPC_RMID, NULL);
    msgctl(answer, IPC_RMID, NULL);
    printf("%.0f\n", ((end.tv_sec - begin.tv_sec) * 1e9 + (end.tv_nsec - begin.tv_nsec)) / rounds);
    return status;
}
