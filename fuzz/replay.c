/* Runs the fuzz target without a fuzzer: on the files that are named, and on `-random=N` made-up inputs.
 * With it any compiler and sanitizer will do, and gcov can say which lines are reached. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SIZE_MAX_INPUT = 1 << 16 };

static uint32_t random_state = 1;

static uint32_t random32(void) /* xorshift32 */
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

static void run_random(long count)
{
    static uint8_t data[512];
    long n;
    for (n = 0; n < count; n++) {
        size_t size = random32() % sizeof data, i;
        uint32_t tame = random32() % 3; /* all bytes, small ones, or mostly zeros */
        for (i = 0; i < size; i++) {
            uint32_t b = random32() >> 8;
            data[i] = (uint8_t)(tame == 0 || i < 6 ? b : tame == 1 ? b % 8 : b % 16 ? 0 : b >> 4);
        }
        LLVMFuzzerTestOneInput(data, size);
    }
}

int main(int argc, char **argv)
{
    static uint8_t data[SIZE_MAX_INPUT];
    long inputs = 0;
    int i;
    for (i = 1; i < argc; i++) {
        if (strncmp(argv[i], "-random=", 8) == 0) {
            long count = atol(argv[i] + 8);
            run_random(count);
            inputs += count;
        } else {
            FILE *file = fopen(argv[i], "rb");
            size_t size;
            if (!file) {
                perror(argv[i]);
                return 2;
            }
            size = fread(data, 1, sizeof data, file);
            fclose(file);
            LLVMFuzzerTestOneInput(data, size);
            inputs++;
        }
    }
    printf("%ld inputs, 0 findings\n", inputs);
    return 0;
}
