/* Threads that share a module and a session, while others open, refuse and free: every run gives what it would alone, every thread has its own message.
 *
 *     threads LENET.bin THREADS RUNS
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <twnc.h>

enum { PIXELS = 28 * 28, CLASSES = 10, MAX_THREADS = 16 };

static twnc_module *module;
static twnc_session *shared;
static float images[MAX_THREADS][PIXELS], expected[MAX_THREADS][CLASSES];
static int runs;

static twnc_code classify(twnc_session *session, size_t number, float *logits)
{
    const int64_t shape[] = {1, 1, 28, 28}, logits_shape[] = {1, CLASSES};
    const twnc_array input = {"image", images[number], sizeof images[number], TWNC_F32, 4, shape};
    const twnc_array output = {"logits", logits, CLASSES * sizeof(float), TWNC_F32, 2, logits_shape};
    return twnc_session_run(session, &input, 1, &output, 1);
}

/* Gives NULL if all was as it should be. */
static void *work(void *argument)
{
    const size_t number = (size_t)argument;
    float logits[CLASSES];
    char name[32];
    int run;
    snprintf(name, sizeof name, "backend %u", (unsigned)number);
    for (run = 0; run < runs; run++) {
        twnc_session *own;
        twnc_options *options;
        twnc_code code = classify(shared, number, logits);
        if (code == TWNC_OK ? memcmp(logits, expected[number], sizeof logits) != 0 : code != TWNC_INVALID_HANDLE)
            return "the shared session";
        if (twnc_options_new(&options) != TWNC_OK || twnc_options_set_threads(options, 1 + number % 2) != TWNC_OK)
            return "options";
        if (twnc_options_set_backend(options, name) != TWNC_BACKEND || strstr(twnc_error_message(), name) == NULL)
            return "a message of another thread";
        if (twnc_session_new(module, options, &own) != TWNC_OK || twnc_options_free(options) != TWNC_OK)
            return "a session";
        if (classify(own, number, logits) != TWNC_OK || memcmp(logits, expected[number], sizeof logits) != 0)
            return "a session of one's own";
        if (twnc_session_free(own) != TWNC_OK || strstr(twnc_error_message(), name) == NULL)
            return "what succeeds changes no message";
    }
    return NULL;
}

int main(int argc, char **argv)
{
    const size_t threads = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
    pthread_t started[MAX_THREADS];
    size_t i, j;
    int failed = 0;
    if (threads < 1 || threads > MAX_THREADS)
        return 2;
    runs = atoi(argv[3]);
    if (twnc_module_open(argv[1], &module) != TWNC_OK || twnc_session_new(module, NULL, &shared) != TWNC_OK) {
        fprintf(stderr, "%s\n", twnc_error_message());
        return 2;
    }
    for (i = 0; i < threads; i++) {
        for (j = 0; j < PIXELS; j++)
            images[i][j] = (float)((i + 1) * j % 11) / 11.0f;
        if (classify(shared, i, expected[i]) != TWNC_OK)
            return 2;
    }
    for (i = 0; i < threads; i++)
        if (pthread_create(&started[i], NULL, work, (void *)i) != 0)
            return 2;
    /* While they may be at work with it: what they then get is its result, or that it is not open. */
    failed |= twnc_session_free(shared) != TWNC_OK;
    for (i = 0; i < threads; i++) {
        void *wrong = NULL;
        pthread_join(started[i], &wrong);
        if (wrong != NULL) {
            printf("thread %u: %s\n", (unsigned)i, (const char *)wrong);
            failed = 1;
        }
    }
    failed |= twnc_module_free(module) != TWNC_OK;
    printf("%u threads, %d runs each\n", (unsigned)threads, runs);
    return failed;
}
