/* The library loaded while the program runs, by several threads that each load, use and unload it.
 *
 *     loaded LIBRARY LENET.bin RUNS
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <twnc.h>

enum { THREADS = 4, CLASSES = 10 };

static const char *library, *model;
static int runs;

/* The function of a name, as a pointer to it. */
#define FUNCTION(name)                                \
    __typeof__(name) *name##_;                        \
    *(void **)&name##_ = dlsym(loaded, #name);        \
    if (name##_ == NULL)                              \
    return #name

static float results[THREADS][CLASSES];

/* Gives NULL if all was as it should be. */
static void *work(void *argument)
{
    static float image[28 * 28];
    const int64_t shape[] = {1, 1, 28, 28}, logits_shape[] = {1, CLASSES};
    float *logits = results[(size_t)argument];
    const twnc_array input = {"image", image, sizeof image, TWNC_F32, 4, shape};
    const twnc_array output = {"logits", logits, CLASSES * sizeof(float), TWNC_F32, 2, logits_shape};
    int run;
    for (run = 0; run < runs; run++) {
        twnc_module *module;
        twnc_options *options;
        twnc_session *session;
        void *loaded = dlopen(library, RTLD_NOW | RTLD_LOCAL);
        if (loaded == NULL)
            return dlerror();
        FUNCTION(twnc_module_open);
        FUNCTION(twnc_module_free);
        FUNCTION(twnc_options_new);
        FUNCTION(twnc_options_set_threads);
        FUNCTION(twnc_options_free);
        FUNCTION(twnc_session_new);
        FUNCTION(twnc_session_run);
        FUNCTION(twnc_session_free);
        FUNCTION(twnc_error_message);
        if (twnc_module_open_("missing.bin", &module) != TWNC_FILE || strstr(twnc_error_message_(), "missing.bin") == NULL)
            return "a message";
        if (twnc_module_open_(model, &module) != TWNC_OK || twnc_options_new_(&options) != TWNC_OK || twnc_options_set_threads_(options, 2) != TWNC_OK)
            return "a module";
        if (twnc_session_new_(module, options, &session) != TWNC_OK || twnc_session_run_(session, &input, 1, &output, 1) != TWNC_OK)
            return "a run";
        if (twnc_session_free_(session) != TWNC_OK || twnc_options_free_(options) != TWNC_OK || twnc_module_free_(module) != TWNC_OK)
            return "an end";
        if (dlclose(loaded) != 0)
            return dlerror();
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t started[THREADS];
    size_t i;
    int failed = 0;
    if (argc != 4)
        return 2;
    library = argv[1], model = argv[2], runs = atoi(argv[3]);
    for (i = 0; i < THREADS; i++)
        if (pthread_create(&started[i], NULL, work, (void *)i) != 0)
            return 2;
    for (i = 0; i < THREADS; i++) {
        void *wrong = NULL;
        pthread_join(started[i], &wrong);
        if (wrong != NULL || memcmp(results[i], results[0], sizeof results[i]) != 0) {
            printf("thread %u: %s\n", (unsigned)i, wrong != NULL ? (const char *)wrong : "other results");
            failed = 1;
        }
    }
    printf("%d threads loaded it, %d times each\n", THREADS, runs);
    return failed;
}
