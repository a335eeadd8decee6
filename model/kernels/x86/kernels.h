/* What module.c may call once it knows which instructions the processor has. */
#ifndef RUDOLPH_KERNELS_H
#define RUDOLPH_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* A linear layer as addresses; `Linear` in linear.h says what lies there. */
typedef struct {
    const void *weight, *bias, *scales, *starts;
    int64_t arithmetic; /* of linear.h */
} LinearAddresses;

/* A layer as addresses, in the order of stack.py; norms as weight, bias. */
typedef struct {
    const void *input_norm[2], *attention_norm[2], *middle_norm[2], *output_norm[2];
    LinearAddresses query_key_value, dense, widen, narrow;
    const int64_t *cells; /* shape = (image_length, num_cells): places in the body, from 0; -1 ends a row */
    int64_t num_cells;
    void *left, *body; /* this layer's pools of keys and values */
} LayerAddresses;

typedef struct {
    int64_t layers, hidden, heads, left_length, image_length, body_length;
} Shape;

/* Tokens that go through the network together, in any order of segments.
 *
 * int64, one a token; positions count from the beginning of the sequence. Where `length` is 0, keys and
 * values are stored in the slots and read from there. Otherwise nothing is stored: the tokens are sequences
 * of `length` each, from position `start` on, which see the slots' tokens before `start` and one another.
 */
typedef struct {
    int64_t count, start, length, num_left_slots, num_slots;
    const int64_t *positions, *left_slots, *slots, *picture_slots;
} Tokens;

/* Settings of rows that draw a token; one value a row each. */
typedef struct {
    const float *temperature, *top_p;
    const int64_t *top_k, *seeds, *positions;
} SamplingAddresses;

/* The kernels as one kind of processor runs them. */
typedef struct {
    /* Panels of bfloat16, laid out for the instruction for it, in twelve bits; twelve.h says how long they
     * are then. NULL where there is no such instruction. */
    void (*narrow)(const void *panels, size_t count, size_t inputs, void *out, int threads);

    /* Bytes that a product needs beside its arguments. */
    size_t (*linear_bytes)(size_t rows, size_t inputs);

    /* x: bfloat16, shape = (rows, inputs); out likewise. `scratch` takes the rows as the arithmetic wants
     * them, and `row_scales` their scales where that is in whole numbers. */
    void (*linear)(const void *x, size_t rows, size_t inputs, const LinearAddresses *linear, size_t outputs,
                   int gelu, void *out, void *scratch, float *row_scales, int threads);

    /* Bytes that a run needs beside its arguments. */
    size_t (*scratch_bytes)(const Shape *shape, size_t tokens, int threads);

    /* All layers; hidden: shape = (tokens, hidden), embeddings before and hidden states afterwards. Returns
     * the first token whose position or slot does not exist, in which case nothing was done, or -1. */
    int64_t (*run)(const Shape *shape, const LayerAddresses *layers, const Tokens *tokens, float *hidden,
                   void *scratch, int threads);

    /* Bytes that drawing needs beside its arguments. */
    size_t (*sample_bytes)(size_t vocab, int threads);

    /* logits: float32, shape = (rows, vocab); drawn: int64, shape = (rows). */
    void (*sample)(const float *logits, size_t rows, size_t vocab, const SamplingAddresses *settings,
                   int64_t *drawn, void *scratch, int threads);
} Kernels;

/* With AVX512-BF16 and AVX512-VNNI; with AVX2 and FMA. */
extern const Kernels rudolph_avx512, rudolph_avx2;

/* Whether this processor sums in float16 too. */
int rudolph_has_half(void);

#endif
