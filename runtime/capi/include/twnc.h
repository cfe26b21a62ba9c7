/* twnc: runs compiled ternary networks (model.bin).
 *
 * Written by cbindgen from the sources of twnc-capi; a test compares it with them. docs/c.md explains it.
 *
 * Codes      Every function that can fail gives a code. Where it is not TWNC_OK, twnc_error_message says more, and nothing was changed by the call but
 *            results (a handle is NULL then) and the elements of output arrays.
 * Handles    twnc_module, twnc_session and twnc_options are handles and no addresses. What is not open, NULL included, gets TWNC_INVALID_HANDLE. To
 *            free NULL does nothing. Any thread may use any handle at any time; what is freed lives on until the calls that use it have returned.
 * Pointers   What the library can see is checked: NULL and alignment, which give TWNC_INVALID_ARGUMENT. What it cannot see is the caller's promise: that
 *            texts end in a zero, that there is as much at a pointer as the call says, and that no other thread writes to it meanwhile.
 * Arrays     The caller owns all memory that is read or written. Nothing is kept of it when a call returns.
 */

#ifndef TWNC_H
#define TWNC_H

#include <stddef.h>
#include <stdint.h>

// Which interface this header describes. It changes when something in it changes or goes, and not when something joins.
#define TWNC_ABI_VERSION 1

// The size of an axis that the model leaves open, or that follows from open ones.
#define TWNC_OPEN -1

// A loaded model. Immutable, and usable by any number of sessions and threads.
typedef struct twnc_module twnc_module;

// How sessions run. A session copies what it is given.
typedef struct twnc_options twnc_options;

// Runs a model. Several threads may run one session at a time, each into arrays of its own; each gets, byte for byte, what it would alone.
typedef struct twnc_session twnc_session;

// How a call came out. Numbers stay; others may join.
typedef int32_t twnc_code;

// A type of elements. Numbers stay; others may join.
typedef int32_t twnc_element;

// What a model says of an input or output. All of it stands until the module is freed.
typedef struct {
  // Its name.
  const char *name;
  // What an element is.
  twnc_element element;
  // How many axes it has.
  size_t rank;
  // The size of each axis; TWNC_OPEN where it is not fixed.
  const int64_t *shape;
  // The name of each axis's open size, which is the same size wherever the name stands; NULL where it is fixed or follows from others.
  const char *const *symbols;
} twnc_port;

// An array of the caller's, for an input or an output: row-major elements without gaps, aligned as their type is in C.
typedef struct {
  // Which input or output it is for; NULL: the one that has this array's place among those of the model.
  const char *name;
  // The elements. May be NULL where there are none.
  void *data;
  // How many bytes there are at `data`: as many as the elements take, or more.
  size_t bytes;
  // What an element is.
  twnc_element element;
  // How many axes it has.
  size_t rank;
  // The size of each axis. May be NULL where there are none.
  const int64_t *shape;
} twnc_array;

// float.
#define TWNC_F32 0

// int8_t.
#define TWNC_I8 1

// uint8_t.
#define TWNC_U8 2

// int16_t.
#define TWNC_I16 3

// int32_t.
#define TWNC_I32 4

// int64_t.
#define TWNC_I64 5

// A byte that is 0 or 1, as bool is.
#define TWNC_BOOL 6

// It did what it was asked for.
#define TWNC_OK 0

// An argument that no call may have: NULL, misaligned, out of range, not UTF-8, a buffer that is too small, arrays that overlap.
#define TWNC_INVALID_ARGUMENT 1

// A handle that is not open: NULL, freed, made up, or of another kind.
#define TWNC_INVALID_HANDLE 2

// A file that cannot be read.
#define TWNC_FILE 3

// A file or bytes that are no model, or no tuning.
#define TWNC_MODEL 4

// Inputs that are not those that the model takes.
#define TWNC_INPUT 5

// Arrays for outputs that are not those that the model gives.
#define TWNC_OUTPUT 6

// A run takes more memory than it may, or than there is.
#define TWNC_MEMORY 7

// A path of execution that is not available here, code that cannot be made, or threads that cannot be started.
#define TWNC_BACKEND 8

// A step cannot be computed for these elements.
#define TWNC_RUN 9

// A mistake in the library. The call did nothing that can be relied on; all handles can be freed.
#define TWNC_INTERNAL 10

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The TWNC_ABI_VERSION of the library.
uint32_t twnc_abi_version(void);

// The version of the library, as text.
const char *twnc_version(void);

// What went wrong, and what to do, in the last call of this thread that did not give TWNC_OK; empty if there was none. Never NULL. It stands until
// the next such call of this thread.
const char *twnc_error_message(void);

// Reads and validates the file `path` (UTF-8), a model.bin.
twnc_code twnc_module_open(const char *path, twnc_module **module);

// Validates the bytes of a model.bin, and copies what it needs of them.
twnc_code twnc_module_from_bytes(const void *bytes, size_t size, twnc_module **module);

// Frees a module; sessions of it go on.
twnc_code twnc_module_free(twnc_module *module);

// What the model takes: `count` inputs, in its order.
twnc_code twnc_module_inputs(const twnc_module *module, const twnc_port **inputs, size_t *count);

// What the model gives: `count` outputs, in its order.
twnc_code twnc_module_outputs(const twnc_module *module, const twnc_port **outputs, size_t *count);

// Options as they are for a session that is given none: one thread, the fastest path that the machine has (or the one that the environment's TWNC_ISA
// names), three quarters of the machine's memory.
twnc_code twnc_options_new(twnc_options **options);

// Frees options; sessions that were made with them go on.
twnc_code twnc_options_free(twnc_options *options);

// How many threads compute a run, the caller's included: 1 to 1024.
twnc_code twnc_options_set_threads(twnc_options *options, size_t threads);

// The path of execution: "avx512", "avx2", "portable" or "interpreter". One that the machine does not have is TWNC_BACKEND.
twnc_code twnc_options_set_backend(twnc_options *options, const char *name);

// The most memory that a run may take, in bytes; one that needs more is TWNC_MEMORY.
twnc_code twnc_options_set_max_memory(twnc_options *options, size_t bytes);

// Which kernels layers take, as `twnc bench --autotune --store FILE` has measured: the file `path` (UTF-8).
twnc_code twnc_options_set_tuning(twnc_options *options, const char *path);

// A session that runs the model, with options or, where they are NULL, without.
twnc_code twnc_session_new(const twnc_module *module, const twnc_options *options, twnc_session **session);

// Frees a session. Runs of it that have not ended, in other threads, end as they would.
twnc_code twnc_session_free(twnc_session *session);

// By which path it runs, in the words of twnc_options_set_backend. The text stands until the session is freed.
twnc_code twnc_session_backend(const twnc_session *session, const char **name);

// The sizes of output `output` (from 0, in the model's order) for these inputs, of which no element is read, into `rank` places. Needed only where
// the model leaves sizes open.
twnc_code twnc_session_output_shape(const twnc_session *session,
                                    const twnc_array *inputs,
                                    size_t input_count,
                                    size_t output,
                                    int64_t *shape,
                                    size_t rank);

// Runs the model: reads arrays for all inputs, writes arrays for all outputs, which overlap no other array. The outputs hold anything after a run that
// failed. Once a run with inputs of these shapes has been, memory is allocated for the description of arrays alone, and not for elements.
twnc_code twnc_session_run(const twnc_session *session,
                           const twnc_array *inputs,
                           size_t input_count,
                           const twnc_array *outputs,
                           size_t output_count);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TWNC_H */
