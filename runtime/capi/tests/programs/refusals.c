/* Wrong arguments of every kind: each gets its code and a sentence, and leaves everything as it was.
 *
 *     refusals LENET.bin TYPES.bin FILE_THAT_IS_NO_MODEL FOLDER
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <twnc.h>

static int calls, failures;

static void expect(int line, const char *call, twnc_code code, twnc_code expected, const char *words)
{
    calls++;
    if (code != expected || (code != TWNC_OK && strstr(twnc_error_message(), words) == NULL)) {
        printf("line %d: %s\n  gave %d, not %d: %s (not: %s)\n", line, call, (int)code, (int)expected, twnc_error_message(), words);
        failures++;
    }
}

/* That a call gives a code, and a message that has these words. */
#define REFUSED(code, words, call) expect(__LINE__, #call, (call), TWNC_##code, (words))
#define DONE(call) expect(__LINE__, #call, (call), TWNC_OK, "")
#define THAT(condition) expect(__LINE__, #condition, (condition) ? TWNC_OK : -1, TWNC_OK, "")

/* A pointer that is one byte off. */
#define OFF(type, pointer) ((type *)(void *)((char *)(pointer) + 1))

static unsigned char *read_file(const char *path, size_t *size)
{
    unsigned char *bytes;
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0)
        exit(2);
    *size = (size_t)ftell(file);
    rewind(file);
    bytes = malloc(*size);
    if (bytes == NULL || fread(bytes, 1, *size, file) != *size)
        exit(2);
    fclose(file);
    return bytes;
}

static twnc_array array_of(const char *name, void *data, size_t bytes, twnc_element element, size_t rank, const int64_t *shape)
{
    twnc_array array;
    memset(&array, 0, sizeof array);
    array.name = name;
    array.data = data;
    array.bytes = bytes;
    array.element = element;
    array.rank = rank;
    array.shape = shape;
    return array;
}

static void opening(const char *lenet, const char *no_model, const char *folder)
{
    twnc_module *module, *places[2];
    size_t size, length;
    unsigned char *bytes = read_file(lenet, &size);

    REFUSED(INVALID_ARGUMENT, "`module` is NULL", twnc_module_open(lenet, NULL));
    REFUSED(INVALID_ARGUMENT, "`module` lies at no multiple", twnc_module_open(lenet, OFF(twnc_module *, places)));
    module = (twnc_module *)bytes;
    REFUSED(INVALID_ARGUMENT, "`path` is NULL", twnc_module_open(NULL, &module));
    THAT(module == NULL);
    REFUSED(INVALID_ARGUMENT, "`path` is not UTF-8", twnc_module_open("\xff\xfe", &module));
    REFUSED(FILE, "missing.bin", twnc_module_open("missing.bin", &module));
    REFUSED(FILE, folder, twnc_module_open(folder, &module));
    REFUSED(FILE, "", twnc_module_open("", &module));
    REFUSED(MODEL, "not a model.bin", twnc_module_open(no_model, &module));

    REFUSED(INVALID_ARGUMENT, "`module` is NULL", twnc_module_from_bytes(bytes, size, NULL));
    REFUSED(INVALID_ARGUMENT, "`bytes` is NULL", twnc_module_from_bytes(NULL, size, &module));
    REFUSED(INVALID_ARGUMENT, "larger than memory", twnc_module_from_bytes(bytes, (size_t)-1, &module));
    REFUSED(MODEL, "", twnc_module_from_bytes(NULL, 0, &module));
    for (length = 0; length < size; length += length < 256 ? 1 : size / 60)
        REFUSED(MODEL, "", twnc_module_from_bytes(bytes, length, &module));
    REFUSED(MODEL, "", twnc_module_from_bytes(bytes, size - 1, &module));
    for (length = 0; length < size; length += length < 256 ? 1 : size / 60) {
        bytes[length] ^= 0x10;
        REFUSED(MODEL, "", twnc_module_from_bytes(bytes, size, &module));
        bytes[length] ^= 0x10;
    }
    THAT(module == NULL);
    DONE(twnc_module_from_bytes(bytes, size, &module));
    DONE(twnc_module_free(module));
    free(bytes);
}

static void handles(const char *lenet)
{
    twnc_module *module;
    twnc_session *session;
    twnc_options *options;
    const twnc_port *ports[2];
    const char *name;
    size_t count[2];

    DONE(twnc_module_open(lenet, &module));
    DONE(twnc_options_new(&options));
    DONE(twnc_session_new(module, options, &session));

    REFUSED(INVALID_HANDLE, "module is NULL", twnc_module_inputs(NULL, ports, count));
    REFUSED(INVALID_HANDLE, "is not open", twnc_module_inputs((twnc_module *)(void *)session, ports, count));
    REFUSED(INVALID_HANDLE, "is not open", twnc_module_outputs((twnc_module *)(void *)&count, ports, count));
    REFUSED(INVALID_ARGUMENT, "`ports` is NULL", twnc_module_inputs(module, NULL, count));
    REFUSED(INVALID_ARGUMENT, "`count` is NULL", twnc_module_outputs(module, ports, NULL));
    REFUSED(INVALID_ARGUMENT, "`ports` lies at", twnc_module_outputs(module, OFF(const twnc_port *, ports), count));
    REFUSED(INVALID_ARGUMENT, "`count` lies at", twnc_module_outputs(module, ports, OFF(size_t, count)));
    REFUSED(INVALID_HANDLE, "module is not open", twnc_session_new((twnc_module *)(void *)options, NULL, &session));
    THAT(session == NULL);
    REFUSED(INVALID_HANDLE, "module is NULL", twnc_session_new(NULL, NULL, &session));
    REFUSED(INVALID_HANDLE, "options", twnc_session_new(module, (twnc_options *)(void *)module, &session));
    REFUSED(INVALID_ARGUMENT, "`session` is NULL", twnc_session_new(module, NULL, NULL));
    REFUSED(INVALID_ARGUMENT, "`session` lies at", twnc_session_new(module, NULL, OFF(twnc_session *, ports)));
    REFUSED(INVALID_HANDLE, "session is NULL", twnc_session_backend(NULL, &name));
    REFUSED(INVALID_ARGUMENT, "`options` is NULL", twnc_options_new(NULL));
    REFUSED(INVALID_HANDLE, "session is not open", twnc_session_free((twnc_session *)(void *)module));
    REFUSED(INVALID_HANDLE, "module is not open", twnc_module_free((twnc_module *)1));

    DONE(twnc_options_free(options));
    REFUSED(INVALID_HANDLE, "options handle is not open", twnc_options_free(options));
    REFUSED(INVALID_HANDLE, "options handle is not open", twnc_options_set_threads(options, 1));
    REFUSED(INVALID_HANDLE, "options handle is not open", twnc_session_new(module, options, &session));
    DONE(twnc_session_new(module, NULL, &session));
    REFUSED(INVALID_ARGUMENT, "`name` is NULL", twnc_session_backend(session, NULL));
    DONE(twnc_module_free(module));
    REFUSED(INVALID_HANDLE, "module is not open", twnc_module_free(module));
    REFUSED(INVALID_HANDLE, "module is not open", twnc_module_inputs(module, ports, count));
    DONE(twnc_session_backend(session, &name));
    DONE(twnc_session_free(session));
    REFUSED(INVALID_HANDLE, "session is not open", twnc_session_free(session));
    REFUSED(INVALID_HANDLE, "session is not open", twnc_session_backend(session, &name));
    REFUSED(INVALID_HANDLE, "session is not open", twnc_session_run(session, NULL, 0, NULL, 0));

    DONE(twnc_module_free(NULL));
    DONE(twnc_session_free(NULL));
    DONE(twnc_options_free(NULL));
}

static void options(const char *no_tuning, const char *folder)
{
    twnc_options *options;
    DONE(twnc_options_new(&options));
    REFUSED(INVALID_ARGUMENT, "0 threads", twnc_options_set_threads(options, 0));
    REFUSED(INVALID_ARGUMENT, "1025 threads", twnc_options_set_threads(options, 1025));
    REFUSED(INVALID_ARGUMENT, "threads", twnc_options_set_threads(options, (size_t)-1));
    REFUSED(INVALID_ARGUMENT, "`name` is NULL", twnc_options_set_backend(options, NULL));
    REFUSED(INVALID_ARGUMENT, "`name` is not UTF-8", twnc_options_set_backend(options, "\x80"));
    REFUSED(BACKEND, "interpreter", twnc_options_set_backend(options, "abacus"));
    REFUSED(BACKEND, "``", twnc_options_set_backend(options, ""));
    REFUSED(INVALID_ARGUMENT, "`path` is NULL", twnc_options_set_tuning(options, NULL));
    REFUSED(FILE, "missing.txt", twnc_options_set_tuning(options, "missing.txt"));
    REFUSED(FILE, "", twnc_options_set_tuning(options, folder));
    REFUSED(MODEL, "", twnc_options_set_tuning(options, no_tuning));
    REFUSED(INVALID_HANDLE, "NULL", twnc_options_set_max_memory(NULL, 1));
    REFUSED(INVALID_HANDLE, "NULL", twnc_options_set_backend(NULL, "interpreter"));
    REFUSED(INVALID_HANDLE, "NULL", twnc_options_set_threads(NULL, 1));
    DONE(twnc_options_set_threads(options, 3));
    DONE(twnc_options_set_backend(options, "interpreter"));
    DONE(twnc_options_set_max_memory(options, 1 << 20));
    DONE(twnc_options_free(options));
}

/* One input and one output. */
static void arrays(const char *lenet)
{
    static float image[2 * 28 * 28 + 1], logits[2 * 10 + 1], first[10];
    const int64_t shape[] = {1, 1, 28, 28}, logits_shape[] = {1, 10};
    const int64_t negative[] = {-1, 1, 28, 28}, empty[] = {0, 1, 28, 28}, wide[] = {1, 1, 28, 29}, two[] = {2, 1, 28, 28};
    const int64_t vast[] = {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX}, hidden[] = {0, INT64_MAX, 8, 28}, many[] = {INT64_MAX / 4096, 1, 28, 28};
    const int64_t logits_two[] = {2, 10};
    const twnc_array good = array_of("image", image, 28 * 28 * sizeof(float), TWNC_F32, 4, shape);
    const twnc_array result = array_of("logits", logits, 10 * sizeof(float), TWNC_F32, 2, logits_shape);
    twnc_array input, output, pair[2];
    twnc_module *module;
    twnc_options *options;
    twnc_session *session, *small;
    int64_t sizes[3];
    size_t i;

    for (i = 0; i < 28 * 28; i++)
        image[i] = (float)(i % 7) / 7.0f;
    DONE(twnc_module_open(lenet, &module));
    DONE(twnc_session_new(module, NULL, &session));
    DONE(twnc_session_run(session, &good, 1, &result, 1));
    memcpy(first, logits, sizeof first);

    REFUSED(INVALID_HANDLE, "session is NULL", twnc_session_run(NULL, &good, 1, &result, 1));
    REFUSED(INVALID_ARGUMENT, "array of inputs is NULL", twnc_session_run(session, NULL, 1, &result, 1));
    REFUSED(INVALID_ARGUMENT, "array of outputs is NULL", twnc_session_run(session, &good, 1, NULL, 1));
    REFUSED(INVALID_ARGUMENT, "array of inputs lies at", twnc_session_run(session, OFF(const twnc_array, &good), 1, &result, 1));
    REFUSED(INPUT, "has 1 inputs, but 0", twnc_session_run(session, NULL, 0, &result, 1));
    REFUSED(OUTPUT, "has 1 outputs, but 0", twnc_session_run(session, &good, 1, NULL, 0));
    pair[0] = pair[1] = good;
    REFUSED(INPUT, "has 1 inputs, but 2", twnc_session_run(session, pair, 2, &result, 1));
    REFUSED(INPUT, "arrays", twnc_session_run(session, pair, (size_t)-1, &result, 1));
    REFUSED(OUTPUT, "arrays", twnc_session_run(session, &good, 1, &result, (size_t)-1));

/* The good input with one field changed, and what comes of it. */
#define INPUT(code, words, change) (input = good, change, REFUSED(code, words, twnc_session_run(session, &input, 1, &result, 1)))
    INPUT(INPUT, "no input `picture`; it has `image`", input.name = "picture");
    INPUT(INPUT, "no input `logits`", input.name = "logits");
    INPUT(INPUT, "no input ``", input.name = "");
    INPUT(INVALID_ARGUMENT, "`name` is not UTF-8", input.name = "\xc3");
    INPUT(INVALID_ARGUMENT, "input `image` is NULL", input.data = NULL);
    INPUT(INVALID_ARGUMENT, "input `image` lies at no multiple of 4", input.data = (char *)image + 1);
    INPUT(INVALID_ARGUMENT, "3136 bytes, but its array has 3135", input.bytes--);
    INPUT(INVALID_ARGUMENT, "its array has 0", input.bytes = 0);
    INPUT(INPUT, "is f32 of rank 4, but the array for it is i64", input.element = TWNC_I64);
    INPUT(INPUT, "is f32 of rank 4, but the array for it is bool", input.element = TWNC_BOOL);
    INPUT(INVALID_ARGUMENT, "number 7", input.element = 7);
    INPUT(INVALID_ARGUMENT, "number -1", input.element = -1);
    INPUT(INVALID_ARGUMENT, "number", input.element = INT32_MIN);
    INPUT(INPUT, "of rank 3", input.rank = 3);
    INPUT(INPUT, "of rank 0", input.rank = 0);
    INPUT(INPUT, "of rank", input.rank = (size_t)-1);
    INPUT(INVALID_ARGUMENT, "shape of input `image` is NULL", input.shape = NULL);
    INPUT(INVALID_ARGUMENT, "shape of input `image` lies at", input.shape = OFF(const int64_t, vast));
    INPUT(INVALID_ARGUMENT, "axis 0 has the size -1", input.shape = negative);
    INPUT(INPUT, "size 0 along axis 0", input.shape = empty);
    INPUT(INVALID_ARGUMENT, "[1, 1, 28, 29] elements take", input.shape = wide);
    INPUT(INPUT, "has the shape [1, 1, 28, 29]", (input.shape = wide, input.bytes = sizeof image));
    INPUT(INVALID_ARGUMENT, "larger than memory", input.shape = vast);
    INPUT(INVALID_ARGUMENT, "larger than memory", input.shape = hidden);
    INPUT(INVALID_ARGUMENT, "bytes, but its array has 3136", input.shape = many);
    INPUT(INVALID_ARGUMENT, "elements take", input.shape = two);
    INPUT(OUTPUT, "logits", (input.shape = two, input.bytes *= 2));

#define OUTPUT(code, words, change) (output = result, change, REFUSED(code, words, twnc_session_run(session, &good, 1, &output, 1)))
    OUTPUT(OUTPUT, "no output `image`; it has `logits`", output.name = "image");
    OUTPUT(INVALID_ARGUMENT, "output `logits` is NULL", output.data = NULL);
    OUTPUT(INVALID_ARGUMENT, "output `logits` lies at", output.data = (char *)logits + 2);
    OUTPUT(INVALID_ARGUMENT, "40 bytes, but its array has 39", output.bytes--);
    OUTPUT(OUTPUT, "is f32 of rank 2, but the array for it is u8", output.element = TWNC_U8);
    OUTPUT(INVALID_ARGUMENT, "number 100", output.element = 100);
    OUTPUT(OUTPUT, "of rank 1", output.rank = 1);
    OUTPUT(INVALID_ARGUMENT, "shape of output `logits` is NULL", output.shape = NULL);
    OUTPUT(INVALID_ARGUMENT, "axis 0 has the size -1", output.shape = negative);
    OUTPUT(OUTPUT, "has the shape [1, 10], but the array for it has [2, 10]", (output.shape = logits_two, output.bytes *= 2));
    OUTPUT(INVALID_ARGUMENT, "overlap", output.data = image);
    OUTPUT(INVALID_ARGUMENT, "overlap", output.data = image + 28 * 28 - 1);

    /* By place, and with more room than there must be. */
    input = good, output = result;
    input.name = output.name = NULL;
    input.bytes = sizeof image, output.bytes = sizeof logits;
    memset(logits, 0, sizeof logits);
    DONE(twnc_session_run(session, &input, 1, &output, 1));
    THAT(memcmp(first, logits, sizeof first) == 0);

    REFUSED(INVALID_HANDLE, "session is NULL", twnc_session_output_shape(NULL, &good, 1, 0, sizes, 2));
    REFUSED(INPUT, "has 1 inputs", twnc_session_output_shape(session, &good, 0, 0, sizes, 2));
    REFUSED(INVALID_ARGUMENT, "no output 1", twnc_session_output_shape(session, &good, 1, 1, sizes, 2));
    REFUSED(INVALID_ARGUMENT, "no output", twnc_session_output_shape(session, &good, 1, (size_t)-1, sizes, 2));
    REFUSED(INVALID_ARGUMENT, "rank 2, not 3", twnc_session_output_shape(session, &good, 1, 0, sizes, 3));
    REFUSED(INVALID_ARGUMENT, "`shape` is NULL", twnc_session_output_shape(session, &good, 1, 0, NULL, 2));
    REFUSED(INVALID_ARGUMENT, "`shape` lies at", twnc_session_output_shape(session, &good, 1, 0, OFF(int64_t, sizes), 2));
    input = good, input.shape = two, input.bytes = sizeof image;
    DONE(twnc_session_output_shape(session, &input, 1, 0, sizes, 2));
    THAT(sizes[0] == 2 && sizes[1] == 10);

    DONE(twnc_options_new(&options));
    DONE(twnc_options_set_max_memory(options, 1000));
    DONE(twnc_session_new(module, options, &small));
    REFUSED(MEMORY, "max_memory", twnc_session_run(small, &good, 1, &result, 1));
    DONE(twnc_session_free(small));
    DONE(twnc_options_free(options));

    DONE(twnc_session_run(session, &good, 1, &result, 1));
    THAT(memcmp(first, logits, sizeof first) == 0);
    DONE(twnc_session_free(session));
    DONE(twnc_module_free(module));
}

/* f32[N,2], i64[2] and bool[N] in; f32[N,2], i64[2], f32[N], f32[2*N,2] and bool[2] out. */
static void types(const char *path)
{
    float x[6] = {1, 2, 3, 4, 5, 6}, joined[12], doubled[12], flags[3];
    int64_t n[2] = {7, -100}, quotient[2];
    unsigned char mask[3] = {1, 0, 1}, nonzero[2] = {0xff, 0xff};
    const int64_t shape[] = {3, 2}, other[] = {2, 2}, pair[] = {2}, three[] = {3}, six[] = {6, 2};
    twnc_array inputs[3], outputs[5], changed[5];
    twnc_module *module;
    twnc_session *session;
    const twnc_port *ports;
    size_t count;
    int64_t sizes[2];

    DONE(twnc_module_open(path, &module));
    DONE(twnc_module_inputs(module, &ports, &count));
    THAT(count == 3 && strcmp(ports[0].name, "x") == 0 && strcmp(ports[1].name, "n") == 0 && strcmp(ports[2].name, "mask") == 0);
    THAT(ports[0].element == TWNC_F32 && ports[0].rank == 2 && ports[0].shape[0] == TWNC_OPEN && ports[0].shape[1] == 2);
    THAT(strcmp(ports[0].symbols[0], "N") == 0 && ports[0].symbols[1] == NULL);
    THAT(ports[1].element == TWNC_I64 && ports[1].rank == 1 && ports[1].shape[0] == 2 && ports[1].symbols[0] == NULL);
    THAT(ports[2].element == TWNC_BOOL && strcmp(ports[2].symbols[0], "N") == 0);
    DONE(twnc_module_outputs(module, &ports, &count));
    THAT(count == 5 && strcmp(ports[3].name, "joined") == 0 && ports[3].shape[0] == TWNC_OPEN && ports[3].symbols[0] == NULL);
    DONE(twnc_session_new(module, NULL, &session));

    inputs[0] = array_of("x", x, sizeof x, TWNC_F32, 2, shape);
    inputs[1] = array_of("n", n, sizeof n, TWNC_I64, 1, pair);
    inputs[2] = array_of("mask", mask, sizeof mask, TWNC_BOOL, 1, three);
    outputs[0] = array_of("doubled", doubled, 6 * sizeof(float), TWNC_F32, 2, shape);
    outputs[1] = array_of("quotient", quotient, sizeof quotient, TWNC_I64, 1, pair);
    outputs[2] = array_of("flags", flags, sizeof flags, TWNC_F32, 1, three);
    outputs[3] = array_of("joined", joined, sizeof joined, TWNC_F32, 2, six);
    outputs[4] = array_of("nonzero", nonzero, sizeof nonzero, TWNC_BOOL, 1, pair);
    DONE(twnc_session_run(session, inputs, 3, outputs, 5));
    THAT(doubled[5] == 12 && quotient[0] == 14 && quotient[1] == -1 && flags[0] == 1 && flags[1] == 0 && joined[11] == 6);
    THAT(nonzero[0] == 1 && nonzero[1] == 1);
    DONE(twnc_session_output_shape(session, inputs, 3, 3, sizes, 2));
    THAT(sizes[0] == 6 && sizes[1] == 2);

    /* By name, in any order. */
    memcpy(changed, outputs, sizeof outputs);
    changed[0] = outputs[4], changed[4] = outputs[0];
    DONE(twnc_session_run(session, inputs, 3, changed, 5));
    memcpy(changed, inputs, sizeof inputs);
    changed[0] = inputs[2], changed[2] = inputs[0];
    DONE(twnc_session_run(session, changed, 3, outputs, 5));
    changed[0].name = changed[2].name = NULL;
    REFUSED(INPUT, "input `x` is f32 of rank 2, but the array for it is bool of rank 1", twnc_session_run(session, changed, 3, outputs, 5));
    changed[0] = inputs[1];
    REFUSED(INPUT, "two arrays came for input `n`", twnc_session_run(session, changed, 3, outputs, 5));
    memcpy(changed, outputs, sizeof outputs);
    changed[3].name = "doubled";
    REFUSED(OUTPUT, "two arrays came for output `doubled`", twnc_session_run(session, inputs, 3, changed, 5));
    changed[3].name = "joined", changed[3].data = doubled;
    REFUSED(INVALID_ARGUMENT, "output `joined` and output `doubled` overlap", twnc_session_run(session, inputs, 3, changed, 5));

    inputs[0].shape = other;
    REFUSED(INPUT, "input `mask`", twnc_session_run(session, inputs, 3, outputs, 5));
    inputs[0].shape = shape;
    mask[1] = 2;
    REFUSED(INVALID_ARGUMENT, "input `mask`: a byte is neither 0 nor 1", twnc_session_run(session, inputs, 3, outputs, 5));
    mask[1] = 0;
    n[1] = 0;
    REFUSED(RUN, "zero", twnc_session_run(session, inputs, 3, outputs, 5));
    n[1] = 100;
    x[0] = NAN;
    nonzero[0] = nonzero[1] = 0x5a;
    DONE(twnc_session_run(session, inputs, 3, outputs, 5));
    THAT(isnan(doubled[0]) && doubled[1] == 4 && quotient[1] == 1 && nonzero[0] == 1);
    DONE(twnc_session_free(session));
    DONE(twnc_module_free(module));
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    THAT(twnc_abi_version() == TWNC_ABI_VERSION);
    THAT(strlen(twnc_version()) > 0 && strlen(twnc_error_message()) == 0);
    opening(argv[1], argv[3], argv[4]);
    handles(argv[1]);
    options(argv[3], argv[4]);
    arrays(argv[1]);
    types(argv[2]);
    printf("%d calls, %d wrong\n", calls, failures);
    return failures != 0;
}
