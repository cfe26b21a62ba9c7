/* Says which digit an image shows.
 *
 *     cc classify.c $(pkg-config --cflags --libs twnc) -o classify && ./classify lenet5.bin seven.pgm
 *
 * The model takes float[N,1,28,28] from 0 to 1 and gives float[N,10]; the image is a binary PGM of 28x28 pixels.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <twnc.h>

enum { SIDE = 28, CLASSES = 10 };

/* Ends the program where the library refuses. */
static void check(twnc_code code)
{
    if (code != TWNC_OK) {
        fprintf(stderr, "error %d: %s\n", (int)code, twnc_error_message());
        exit(1);
    }
}

/* Reads an image of SIDE x SIDE bytes as numbers from 0 to 1; gives 0 if it is none. */
static int read_image(const char *path, float *pixels)
{
    unsigned char bytes[SIDE * SIDE];
    int width = 0, height = 0, white = 0, i, ok;
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return 0;
    ok = fscanf(file, "P5 %d %d %d", &width, &height, &white) == 3 && width == SIDE && height == SIDE && white == 255;
    ok = ok && fgetc(file) != EOF && fread(bytes, 1, sizeof bytes, file) == sizeof bytes;
    fclose(file);
    for (i = 0; ok && i < SIDE * SIDE; i++)
        pixels[i] = (float)bytes[i] / 255.0f;
    return ok;
}

int main(int argc, char **argv)
{
    float image[SIDE * SIDE], logits[CLASSES];
    int64_t image_shape[] = {1, 1, SIDE, SIDE}, logits_shape[] = {1, CLASSES};
    twnc_module *module;
    twnc_session *session;
    twnc_array input, output;
    int i, best = 0;

    if (argc != 3 || !read_image(argv[2], image)) {
        fprintf(stderr, "usage: classify MODEL.bin IMAGE.pgm (P5, %dx%d, 255)\n", SIDE, SIDE);
        return 2;
    }
    if (twnc_abi_version() != TWNC_ABI_VERSION) {
        fprintf(stderr, "the library has another interface than this program was compiled for\n");
        return 2;
    }
    check(twnc_module_open(argv[1], &module));
    check(twnc_session_new(module, NULL, &session));

    memset(&input, 0, sizeof input);
    input.name = "image";
    input.data = image;
    input.bytes = sizeof image;
    input.element = TWNC_F32;
    input.rank = 4;
    input.shape = image_shape;

    memset(&output, 0, sizeof output);
    output.name = "logits";
    output.data = logits;
    output.bytes = sizeof logits;
    output.element = TWNC_F32;
    output.rank = 2;
    output.shape = logits_shape;

    check(twnc_session_run(session, &input, 1, &output, 1));
    for (i = 1; i < CLASSES; i++)
        if (logits[i] > logits[best])
            best = i;
    printf("%d\n", best);

    check(twnc_session_free(session));
    check(twnc_module_free(module));
    return 0;
}
