/* Run a target over the files of the command line, without a fuzzer. */
#include <stdint.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int count, char **paths)
{
    static uint8_t data[1 << 16];

    for (int at = 1; at < count; at++) {
        FILE *file = fopen(paths[at], "rb");
        size_t size;

        if (!file) {
            perror(paths[at]);
            return 2;
        }
        size = fread(data, 1, sizeof data, file);
        fclose(file);
        fprintf(stderr, "%s\n", paths[at]);
        LLVMFuzzerTestOneInput(data, size);
    }
    return 0;
}
