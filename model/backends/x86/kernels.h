/* The interface between module.c and the kernels, which are compiled once for each kind of processor. */
#ifndef RUDOLPH_KERNELS_H
#define RUDOLPH_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* A linear layer as addresses; `Linear` in tiles.h describes what they point to. */
typedef struct {
    const void *weight, *bias, *scales, *starts;
    int64_t arithmetic; /* of tiles.h */
} LinearAddresses;

/* A layer as addresses, in the order of layers.py; norms are weight, bias; up and down are the MLP. */
typedef struct {
    const void *input_norm[2], *attention_norm[2], *middle_norm[2], *output_norm[2];
    LinearAddresses query_key_value, dense, up, down;
    const int64_t
        *cells; /* shape = (image_length, num_cells): body positions that a cell reads; -1 ends them */
    int64_t num_cells;
    void *left, *body; /* the pools of keys and values of this layer */
} LayerAddresses;

typedef struct {
    int64_t layers, hidden, heads, left_length, image_length, body_length;
} Shape;

/* Tokens that pass through the network together, in any order of segments.
 *
 * Arrays of int64, one value a token; positions count from the beginning of the sequence. If `length` is 0,
 * keys and values are stored in the slots and read from there. Otherwise nothing is stored: the tokens are
 * sequences of `length` each, from position `start` on, which see one another and the cached tokens before.
 */
typedef struct {
    int64_t count, start, length, num_left_slots, num_slots;
    const int64_t *positions, *left_slots, *slots, *image_slots;
} Tokens;

/* Sampling parameters; one value a row each. */
typedef struct {
    const float *temperature, *top_p, *min_p;
    const int64_t *top_k, *seeds, *positions;
} SamplingAddresses;

/* The kernels as one kind of processor runs them. */
typedef struct {
    /* Packs panels of bfloat16 into 12 bits a weight, see packed12.h. NULL where no product reads them. */
    void (*pack12)(const void *panels, size_t count, size_t inputs, void *out, int threads);

    /* Bytes of `scratch` that a product needs. */
    size_t (*linear_bytes)(size_t rows, size_t inputs);

    /* One product. x: bfloat16, shape = (rows, inputs); out: bfloat16, shape = (rows, outputs). `scratch`
     * holds the converted rows, `row_scales` the scales of int8 rows. */
    void (*linear)(const void *x, size_t rows, size_t inputs, const LinearAddresses *linear, size_t outputs,
                   int gelu, void *out, void *scratch, float *row_scales, int threads);

    /* Bytes of `scratch` that `run` needs. */
    size_t (*scratch_bytes)(const Shape *shape, size_t tokens, int threads);

    /* Runs all layers. hidden: shape = (tokens, hidden), embeddings before and hidden states after. Returns
     * -1, or the first token whose position or slot does not exist; then nothing was done. */
    int64_t (*run)(const Shape *shape, const LayerAddresses *layers, const Tokens *tokens, float *hidden,
                   void *scratch, int threads);

    /* Bytes of `scratch` that `sample` needs. */
    size_t (*sample_bytes)(size_t vocab, int threads);

    /* Draws one token a row. logits: float32, shape = (rows, vocab); drawn: int64, shape = (rows). */
    void (*sample)(const float *logits, size_t rows, size_t vocab, const SamplingAddresses *settings,
                   int64_t *drawn, void *scratch, int threads);
} Kernels;

/* With AVX512-BF16 and AVX512-VNNI; with AVX2 and FMA. */
extern const Kernels rudolph_avx512, rudolph_avx2;

#endif
