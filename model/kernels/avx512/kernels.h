/* What module.c may call once it knows that the processor has AVX512-BF16. */
#ifndef RUDOLPH_KERNELS_H
#define RUDOLPH_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* A layer as addresses, in the order of step.py: norms as weight, bias; products as panels, bias. */
typedef struct {
    const void *input_norm[2], *attention_norm[2], *middle_norm[2], *output_norm[2];
    const void *query_key_value[2], *dense[2], *widen[2], *narrow[2];
    const int64_t *cells; /* shape = (image_length, num_cells): places in the body, from 0; -1 ends a row */
    int64_t num_cells;
    void *left, *body; /* this layer's pools of keys and values */
} LayerAddresses;

typedef struct {
    int64_t layers, hidden, heads, left_length, image_length, body_length;
} Shape;

/* Tokens that go through the network together, in any order of segments.
 *
 * int64, one a token; positions count from the beginning of the sequence. Where `length` is 0, keys and values are
 * stored in the slots and read from there. Otherwise nothing is stored: the tokens are sequences of `length` each, from
 * position `start` on, which see the slots' tokens before `start` and one another.
 */
typedef struct {
    int64_t count, start, length;
    const int64_t *positions, *left_slots, *slots, *picture_slots;
} Tokens;

void rudolph_linear(const void *x, size_t rows, size_t inputs, const void *weight, const float *bias, size_t outputs,
                    int gelu, void *narrow, float *wide, int threads);

/* Bytes that a run needs beside its arguments. */
size_t rudolph_scratch_bytes(const Shape *shape, size_t tokens, int threads);

/* All layers; hidden: shape = (tokens, hidden), embeddings before and hidden states afterwards. */
void rudolph_run(const Shape *shape, const LayerAddresses *layers, const Tokens *tokens, float *hidden, void *scratch,
                 int threads);

#endif
