/* memload BYTES [ROUNDS [SCATTERED [PACK [TOUCHES]]]]: a memory load that notices if swap loses or exchanges a
 * page.
 *
 * Writes BYTES page by page, then reads everything back. The words of a page do not compress, and depend
 * on the page's number and the round. If BYTES is about twice the RAM, every page has been swapped out
 * and in again by then. The last word of a page is a checksum of the others, which classifies a wrong
 * page: torn, or complete but in the wrong place.
 *
 * Then SCATTERED pages, far from each other, are read and rewritten. With PACK the words of a page
 * repeat, so that the page compresses to 1/PACK of its size.
 *
 * Then, as a program does, TOUCHES pages are read and each fourth of them is rewritten. Page
 * number n comes 1/n as often as the first (Zipf), and other pages come first after each eighth of them.
 *
 * Prints `written ...`, `verified ...`, `scattered ...` and `touched ...` after each pass, `stall seconds=S` after a
 * page that took a second or more, and `pages=N wrong=N seconds=S longest_stall=S` at the end. Seconds
 * count from the start. Exit: 0 all pages right, 1 wrong pages, 2 usage or no memory.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE 4096
#define WORDS (PAGE / 8)
#define SHOWN 10 /* wrong pages that are described one by one */
#define PHASES 8 /* times that other pages are hot */
#define STALL 1.0 /* seconds for one page that count as a stall */

static double longest_stall;
static unsigned period = WORDS; /* the words of a page repeat after so many */

static uint64_t splitmix(uint64_t seed)
{
    seed += 0x9e3779b97f4a7c15ull;
    seed = (seed ^ (seed >> 30)) * 0xbf58476d1ce4e5b9ull;
    seed = (seed ^ (seed >> 27)) * 0x94d049bb133111ebull;
    return seed ^ (seed >> 31);
}

/* xorshift64: three shifts a word, cheap even on an emulated PC. Its state is never zero. */
static uint64_t next(uint64_t state)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^ (state << 17);
}

static void fill(volatile uint64_t *page, uint64_t number, uint64_t round)
{
    uint64_t seed = splitmix(number ^ round << 48) | 1, state = seed, sum = 0;

    page[0] = number;
    for (unsigned at = 1; at < WORDS - 1; at++) {
        state = next(at % period ? state : seed);
        page[at] = state;
        sum += state;
    }
    page[WORDS - 1] = sum ^ number;
}

static int is_right(const volatile uint64_t *page, uint64_t number, uint64_t round)
{
    uint64_t seed = splitmix(number ^ round << 48) | 1, state = seed, sum = 0;
    uint64_t differences = page[0] ^ number;

    for (unsigned at = 1; at < WORDS - 1; at++) {
        state = next(at % period ? state : seed);
        differences |= page[at] ^ state;
        sum += state;
    }
    return (differences | (page[WORDS - 1] ^ sum ^ number)) == 0;
}

static void describe(const volatile uint64_t *page, uint64_t number)
{
    uint64_t sum = 0, bits = 0;

    for (unsigned at = 1; at < WORDS - 1; at++) {
        sum += page[at];
        bits |= page[at];
    }
    bits |= page[0] | page[WORDS - 1];
    if (bits == 0)
        printf("page %llu is wrong: all zeros\n", (unsigned long long)number);
    else if (page[WORDS - 1] == (sum ^ page[0]))
        printf("page %llu is wrong: it is page %llu, or of an earlier round\n",
               (unsigned long long)number, (unsigned long long)page[0]);
    else
        printf("page %llu is wrong: torn\n", (unsigned long long)number);
}

static double seconds_since(const struct timespec *begin)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - begin->tv_sec) + (double)(now.tv_nsec - begin->tv_nsec) / 1e9;
}

/* Call after each page: the time since the page before is the time that a program would stall. */
static void watch(void)
{
    static struct timespec last;
    double seconds = last.tv_sec ? seconds_since(&last) : 0;

    if (seconds > longest_stall)
        longest_stall = seconds;
    if (seconds >= STALL)
        printf("stall seconds=%.2f\n", seconds);
    clock_gettime(CLOCK_MONOTONIC, &last);
}

/* Print a line for every tenth of the pages, because a pass may take minutes on a slow network. */
static void progress(const char *what, uint64_t number, uint64_t pages)
{
    uint64_t percent = number * 100 / pages;

    if (percent % 10 == 0 && percent > 0 && percent != (number - 1) * 100 / pages)
        printf("%s percent=%llu\n", what, (unsigned long long)percent);
}

static uint64_t verify(const volatile uint64_t *memory, uint64_t pages, uint64_t round)
{
    uint64_t wrong = 0;

    for (uint64_t number = 0; number < pages; number++) {
        int right = is_right(memory + number * WORDS, number, round);

        watch();
        progress("verifying", number, pages);
        if (!right && wrong++ < SHOWN)
            describe(memory + number * WORDS, number);
    }
    return wrong;
}

/* Return a number close to the golden section of `pages`, without a common divisor: its multiples reach
 * every page once, each far from the ones before. */
static uint64_t stride(uint64_t pages)
{
    for (uint64_t step = pages * 618 / 1000 + 1;; step++) {
        uint64_t a = pages, b = step;

        while (b) {
            uint64_t rest = a % b;

            a = b;
            b = rest;
        }
        if (a == 1)
            return step;
    }
}

static uint64_t scatter(volatile uint64_t *memory, uint64_t pages, uint64_t count, uint64_t round)
{
    uint64_t wrong = 0, step = stride(pages), number = 0;

    for (uint64_t at = 0; at < count; at++, number = (number + step) % pages) {
        volatile uint64_t *page = memory + number * WORDS;

        if (!is_right(page, number, round) && wrong++ < SHOWN)
            describe(page, number);
        fill(page, number, round);
        watch();
    }
    return wrong;
}

/* Return a number below 2^bits. It has each number of digits equally often, so that number n comes about
 * 1/n as often as number 1: Zipf's law with the exponent 1. */
static uint64_t zipf(uint64_t *state, unsigned bits)
{
    uint64_t top;

    *state = next(*state);
    top = 1ull << splitmix(*state) % bits;
    return top | (splitmix(*state + 1) & (top - 1));
}

static uint64_t touch(volatile uint64_t *memory, uint64_t pages, uint64_t count, uint64_t round)
{
    uint64_t wrong = 0, step = stride(pages), state = round;
    unsigned bits = 1;

    while (bits < 63 && 2ull << bits <= pages)
        bits++;
    for (uint64_t at = 0; at < count; at++) {
        uint64_t phase = at * PHASES / count, rank = zipf(&state, bits);
        uint64_t number = (rank * step + phase * (pages / PHASES)) % pages;
        volatile uint64_t *page = memory + number * WORDS;

        if (!is_right(page, number, round) && wrong++ < SHOWN)
            describe(page, number);
        if (at % 4 == 0)
            fill(page, number, round);
        watch();
    }
    return wrong;
}

int main(int count, char **arguments)
{
    uint64_t pages, wrong = 0;
    unsigned long rounds = count > 2 ? strtoul(arguments[2], NULL, 10) : 1;
    unsigned long scattered = count > 3 ? strtoul(arguments[3], NULL, 10) : 0;
    unsigned long pack = count > 4 ? strtoul(arguments[4], NULL, 10) : 1;
    unsigned long touches = count > 5 ? strtoul(arguments[5], NULL, 10) : 0;
    struct timespec begin;
    volatile uint64_t *memory;

    pages = count > 1 && count < 7 ? strtoull(arguments[1], NULL, 10) / PAGE : 0;
    if (pages == 0 || rounds == 0 || rounds > 0xffff || scattered > pages || pack == 0 ||
        pack > WORDS) {
        fprintf(stderr, "usage: memload BYTES [ROUNDS [SCATTERED [PACK [TOUCHES]]]]\n");
        return 2;
    }
    period = WORDS / (unsigned)pack;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        perror("memload: mmap");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (uint64_t round = 1; round <= rounds; round++) {
        for (uint64_t number = 0; number < pages; number++) {
            fill(memory + number * WORDS, number, round);
            watch();
            progress("writing", number, pages);
        }
        printf("written pages=%llu round=%llu seconds=%.2f\n", (unsigned long long)pages,
               (unsigned long long)round, seconds_since(&begin));
        wrong += verify(memory, pages, round);
        printf("verified pages=%llu round=%llu wrong=%llu seconds=%.2f\n",
               (unsigned long long)pages, (unsigned long long)round, (unsigned long long)wrong,
               seconds_since(&begin));
        if (scattered) {
            wrong += scatter(memory, pages, scattered, round);
            printf("scattered pages=%lu seconds=%.2f\n", scattered, seconds_since(&begin));
        }
        if (touches) {
            wrong += touch(memory, pages, touches, round);
            printf("touched pages=%lu seconds=%.2f\n", touches, seconds_since(&begin));
        }
    }
    printf("pages=%llu wrong=%llu seconds=%.2f longest_stall=%.2f\n", (unsigned long long)pages,
           (unsigned long long)wrong, seconds_since(&begin), longest_stall);
    return wrong != 0;
}
