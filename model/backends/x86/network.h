/* The passes of the network: tokens go through all layers in one parallel region.
 *
 * One region, because a barrier costs a microsecond where a call into a library costs tens. avx512.c and
 * avx2.c compile this file, each for its processors.
 */
#ifndef RUDOLPH_NETWORK_H
#define RUDOLPH_NETWORK_H

#include "kernels.h"

#include <omp.h>

#include "attention.h"
#include "linear.h"
#include "norm.h"
#include "convert.h"
#include "sampling.h"

#define MLP_RATIO 4 /* inner width of the MLP in hidden sizes */
#define ALIGNMENT 64

typedef struct {
    bf16 *normed;     /* (rows, hidden): what a product reads */
    bf16 *fused;      /* (rows, 3, hidden): query, key, value */
    bf16 *context;    /* (rows, hidden) */
    bf16 *inner;      /* (rows, 4 hidden) */
    float *branch;    /* (rows, hidden) */
    float *converted; /* (rows, 4 hidden + ROW_GAP) at most: input rows, converted */
    float *scales;    /* (rows) */
    char *threads;    /* a Scratch for each thread */
    size_t thread_bytes;
} Workspace;

static Linear linear_of(const LinearAddresses *from, size_t inputs, size_t outputs, int gelu)
{
    return (Linear){from->weight, from->bias, from->scales, from->starts,
                    inputs,       outputs,    gelu,         (Arithmetic)from->arithmetic};
}

/* One thread's part of a product of bfloat16 rows, which all threads have written. */
static void multiply_rows(const bf16 *x, const Linear *linear, const Output *out, const Workspace *work,
                          size_t count, size_t thread, size_t threads)
{
    const size_t inputs = linear->inputs;
    Input input = {x, NULL};
    size_t begin, end;
    split(count, thread, threads, &begin, &end);
    if (linear->arithmetic != BF16_DOT) {
        for (size_t row = begin; row < end; row++)
            work->scales[row] = convert_row(x + row * inputs, linear, row, work->converted);
        input = (Input){work->converted, work->scales};
#pragma omp barrier
    }
    multiply(&input, count, linear, out);
}

static size_t linear_bytes(size_t rows, size_t inputs)
{
    return rows * (inputs + ROW_GAP) * sizeof(float);
}

static void product(const void *x, size_t rows, size_t inputs, const LinearAddresses *addresses,
                    size_t outputs, int gelu, void *to, void *scratch, float *row_scales, int threads)
{
    const Linear linear = linear_of(addresses, inputs, outputs, gelu);
    const Output out = {NULL, to, outputs};
    const Workspace work = {.converted = scratch, .scales = row_scales};
#pragma omp parallel num_threads(threads)
    multiply_rows(x, &linear, &out, &work, rows, (size_t)omp_get_thread_num(), (size_t)omp_get_num_threads());
}

/* ---- the network --------------------------------------------------------------------------------------- */

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static size_t thread_bytes(const Shape *shape)
{
    size_t positions = (size_t)(shape->left_length + shape->body_length);
    return aligned(positions * sizeof(bf16 *)) + aligned(positions * HEAD_GROUP * sizeof(float));
}

static Scratch thread_scratch(const Workspace *work, const Shape *shape, size_t thread)
{
    char *own = work->threads + thread * work->thread_bytes;
    size_t positions = (size_t)(shape->left_length + shape->body_length);
    return (Scratch){(const bf16 **)own, (float *)(own + aligned(positions * sizeof(bf16 *)))};
}

/* Assigns the fields of the workspace from `start` on; returns their size without the threads' scratch. */
static size_t place_workspace(Workspace *work, uintptr_t start, const Shape *shape, size_t count)
{
    size_t values = count * (size_t)shape->hidden;
    uintptr_t at = start;
#define TAKE(field, count)                                                                                   \
    work->field = (void *)at;                                                                                \
    at += aligned((count) * sizeof *work->field)
    TAKE(normed, values);
    TAKE(fused, 3 * values);
    TAKE(context, values);
    TAKE(inner, MLP_RATIO * values);
    TAKE(branch, values);
    TAKE(converted, MLP_RATIO * values + count * ROW_GAP);
    TAKE(scales, count);
#undef TAKE
    work->threads = (char *)at;
    work->thread_bytes = thread_bytes(shape);
    return at - start;
}

static size_t scratch_bytes(const Shape *shape, size_t tokens, int threads)
{
    Workspace work;
    return place_workspace(&work, 0, shape, tokens) + (size_t)threads * thread_bytes(shape) + ALIGNMENT;
}

static Norm norm_of(const void *const addresses[2])
{
    return (Norm){addresses[0], addresses[1]};
}

/* Key and value of a position that token `row` sees. `offset` counts from the end of the left text: right
 * text reads the image from the shared slot, everything else from the own one. */
INLINE bf16 *token_at(const Shape *shape, const LayerAddresses *layer, const Tokens *tokens,
                      const Workspace *work, size_t row, int64_t offset)
{
    int64_t position = offset + shape->left_length, hidden = shape->hidden;
    if (tokens->length && position >= tokens->start) {
        int64_t first = (int64_t)row / tokens->length * tokens->length;
        return work->fused + ((first + position - tokens->start) * 3 + 1) * hidden;
    }
    if (offset < 0)
        return (bf16 *)layer->left + (tokens->left_slots[row] * shape->left_length + position) * 2 * hidden;
    int shared =
        offset < shape->image_length && tokens->positions[row] >= shape->left_length + shape->image_length;
    int64_t slot = shared ? tokens->image_slots[row] : tokens->slots[row];
    return (bf16 *)layer->body + (slot * shape->body_length + offset) * 2 * hidden;
}

/* Lists the tokens that a token sees, itself included; returns their number. */
static size_t list_seen(const Shape *shape, const LayerAddresses *layer, const Tokens *tokens,
                        const Workspace *work, size_t row, const bf16 **seen)
{
    int64_t own = tokens->positions[row] - shape->left_length;
    int is_image = own >= 0 && own < shape->image_length;
    size_t count = 0;
    for (int64_t offset = -shape->left_length; offset <= (is_image ? -1 : own); offset++)
        seen[count++] = token_at(shape, layer, tokens, work, row, offset);
    if (is_image) {
        const int64_t *cells = layer->cells + own * layer->num_cells;
        for (int64_t key = 0; key < layer->num_cells && cells[key] >= 0; key++)
            seen[count++] = token_at(shape, layer, tokens, work, row, cells[key]);
    }
    return count;
}

/* One thread's part of a layer's attention. A group of heads goes through all rows, so that the keys that
 * rows share stay in the cache. */
static void attend(const Shape *shape, const LayerAddresses *layer, const Tokens *tokens,
                   const Workspace *work, size_t thread, size_t threads)
{
    size_t heads = (size_t)shape->heads, hidden = (size_t)shape->hidden, count = (size_t)tokens->count;
    Scratch scratch = thread_scratch(work, shape, thread);
    size_t begin, end;
    split((heads + HEAD_GROUP - 1) / HEAD_GROUP * count, thread, threads, &begin, &end);
    for (size_t part = begin; part < end; part++) {
        size_t head = part / count * HEAD_GROUP, row = part % count;
        size_t seen = list_seen(shape, layer, tokens, work, row, scratch.tokens);
        attend_heads(heads - head < HEAD_GROUP ? heads - head : HEAD_GROUP, hidden / heads,
                     work->fused + row * 3 * hidden, &scratch, seen, head, hidden,
                     work->context + row * hidden);
    }
}

/* One thread's part of all layers. */
static void run_layers(const Shape *shape, const LayerAddresses *layers, const Tokens *tokens, float *hidden,
                       const Workspace *work, size_t thread, size_t threads)
{
    const size_t size = (size_t)shape->hidden, count = (size_t)tokens->count, wide = MLP_RATIO * size;
    const Output fused = {NULL, work->fused, 3 * size}, branch = {work->branch, NULL, size},
                 inner = {NULL, work->inner, wide};
    size_t begin, end;
    split(count, thread, threads, &begin, &end);
    for (int64_t number = 0; number < shape->layers; number++) {
        const LayerAddresses *layer = layers + number;
        const Norm input = norm_of(layer->input_norm), attention = norm_of(layer->attention_norm);
        const Norm middle = norm_of(layer->middle_norm), output = norm_of(layer->output_norm);
        const Linear query_key_value = linear_of(&layer->query_key_value, size, 3 * size, 0);
        const Linear dense = linear_of(&layer->dense, size, size, 0);
        const Linear up = linear_of(&layer->up, size, wide, 1), down = linear_of(&layer->down, wide, size, 0);

        for (size_t row = begin; row < end; row++)
            norm_row(hidden + row * size, size, &input, work->normed + row * size);
#pragma omp barrier
        multiply_rows(work->normed, &query_key_value, &fused, work, count, thread, threads);
        if (!tokens->length) {
            for (size_t row = begin; row < end; row++)
                memcpy(token_at(shape, layer, tokens, work, row, tokens->positions[row] - shape->left_length),
                       work->fused + (row * 3 + 1) * size, 2 * size * sizeof(bf16));
#pragma omp barrier
        }
        attend(shape, layer, tokens, work, thread, threads);
#pragma omp barrier
        multiply_rows(work->context, &dense, &branch, work, count, thread, threads);
        for (size_t row = begin; row < end; row++) {
            add_normed_row(hidden + row * size, work->branch + row * size, size, &attention, 1);
            norm_row(hidden + row * size, size, &middle, work->normed + row * size);
        }
#pragma omp barrier
        multiply_rows(work->normed, &up, &inner, work, count, thread, threads);
        multiply_rows(work->inner, &down, &branch, work, count, thread, threads);
        for (size_t row = begin; row < end; row++)
            add_normed_row(hidden + row * size, work->branch + row * size, size, &output, 0);
    }
}

static int exists(const Shape *shape, const Tokens *tokens, int64_t token)
{
    const int64_t lasts[] = {shape->left_length + shape->body_length, tokens->num_left_slots,
                             tokens->num_slots, tokens->num_slots};
    const int64_t values[] = {tokens->positions[token], tokens->left_slots[token], tokens->slots[token],
                              tokens->image_slots[token]};
    for (int field = 0; field < 4; field++)
        if (values[field] < 0 || values[field] >= lasts[field])
            return 0;
    return 1;
}

static int64_t run(const Shape *shape, const LayerAddresses *layers, const Tokens *tokens, float *hidden,
                   void *scratch, int threads)
{
    Workspace work;
    for (int64_t token = 0; token < tokens->count; token++)
        if (!exists(shape, tokens, token))
            return token;
    place_workspace(&work, aligned((uintptr_t)scratch), shape, (size_t)tokens->count);
#pragma omp parallel num_threads(threads)
    run_layers(shape, layers, tokens, hidden, &work, (size_t)omp_get_thread_num(),
               (size_t)omp_get_num_threads());
    return -1;
}

/* ---- sampling ------------------------------------------------------------------------------------------ */

static size_t sample_bytes(size_t vocab, int threads)
{
    return 3 * aligned(vocab * sizeof(float)) * (size_t)threads + ALIGNMENT;
}

static void sample(const float *logits, size_t rows, size_t vocab, const SamplingAddresses *settings,
                   int64_t *drawn, void *scratch, int threads)
{
    const size_t bytes = aligned(vocab * sizeof(float));
#pragma omp parallel for num_threads(threads) schedule(static)
    for (size_t row = 0; row < rows; row++) {
        char *own = (char *)aligned((uintptr_t)scratch) + 3 * bytes * (size_t)omp_get_thread_num();
        const Candidates all = {(float *)own, (float *)(own + bytes), (int32_t *)(own + 2 * bytes)};
        const Settings mine = {settings->temperature[row], settings->top_p[row], settings->min_p[row],
                               settings->top_k[row],       settings->seeds[row], settings->positions[row]};
        drawn[row] = draw(logits + row * vocab, vocab, &mine, &all);
    }
}

/* The interface, in the order of `Kernels`. */
#define KERNELS {PACK12, linear_bytes, product, scratch_bytes, run, sample_bytes, sample}

#endif
