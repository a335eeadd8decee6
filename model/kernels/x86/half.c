/* Sums in float16, for processors with AVX512-FP16: twice the numbers of float32 in an instruction that takes
 * as long.
 *
 * A number of bfloat16 is one of float16 wherever both reach, and so are rows that rudolph_half_row has
 * scaled, and weights but for the smallest. What is rounded is the sum: to eleven bits, while it has at most
 * HALF_CHUNK products; then it goes on in float32. Rows are rounded to eight bits beforehand, which costs
 * more.
 */
#if defined(__GNUC__) && __GNUC__ >= 12
#define HAS_HALF 1
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16,avx512fp16")
#else
#define HAS_HALF 0
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")
#endif

#include "kernels.h"

#include "tiles.h"

int rudolph_has_half(void)
{
#if HAS_HALF
    return __builtin_cpu_supports("avx512fp16") != 0;
#else
    return 0;
#endif
}

#if HAS_HALF

/* One row of bfloat16 in float16, each number twice; returns what undoes its scale. That is a power of two,
 * which brings the largest number to 2^HALF_POWER or twice that at most, so nothing is lost but what is
 * smaller by five powers of ten. */
float rudolph_half_row(const bf16 *x, size_t size, uint32_t *out)
{
    Floats most = zero16();
    for (size_t i = 0; i < size; i += LANES)
        most = max16(most, abs16(load_bf16(x + i, first_lanes(size - i))));
    const float largest = largest_of16(most);
    const Floats exponent = exponent16(set16(largest > SMALLEST ? largest : 1.0f));
    const Floats power = sub16(set16(HALF_POWER), exponent);
    for (size_t i = 0; i < size; i += LANES) {
        const Mask mask = first_lanes(size - i);
        Floats scaled = scale16(load_bf16(x + i, mask), power);
        Words half = _mm512_cvtepu16_epi32(_mm512_cvtps_ph(scaled, _MM_FROUND_TO_NEAREST_INT));
        store_words16_where((int32_t *)out + i, mask, _mm512_or_si512(half, _mm512_slli_epi32(half, 16)));
    }
    return first_of16(scale16(set16(1.0f), sub16(zero16(), power)));
}

/* The sums of one chunk, added to those in float32. */
INLINE void add_chunk(__m512h chunk, float *sums)
{
    const __m512i bits = _mm512_castph_si512(chunk);
    __m512 low = _mm512_cvtph_ps(_mm512_castsi512_si256(bits));
    __m512 high = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(bits, 1));
    _mm512_storeu_ps(sums, _mm512_add_ps(_mm512_loadu_ps(sums), low));
    _mm512_storeu_ps(sums + LANES, _mm512_add_ps(_mm512_loadu_ps(sums + LANES), high));
}

INLINE void half_sums(const int rows, const Input *x, const Linear *linear, const Tile *tile, float *sums)
{
    const size_t inputs = linear->inputs, bytes = inputs * LINE_BYTES, inverse = INVERSE(tile);
    const size_t stride = inputs + SPREAD_GAP;
    const char *weight = (const char *)linear->weight + tile->column * inputs * sizeof(bf16);
    const int *from = (const int *)x->rows + tile->row * stride;
    memset(sums, 0, (size_t)rows * HALF_OUTPUTS * sizeof *sums);
    for (size_t start = 0; start < inputs; start += HALF_CHUNK) {
        const size_t end = inputs - start < HALF_CHUNK ? inputs : start + HALF_CHUNK;
        __m512h chunk[MAX_TILE_ROWS][MAX_TILE_PANELS];
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++)
            for (int panel = 0; panel < MAX_TILE_PANELS; panel++)
                chunk[r][panel] = _mm512_setzero_ph();
        for (size_t line = start; line < end; line++) {
            __m512h weights[MAX_TILE_PANELS];
            for (int panel = 0; panel < MAX_TILE_PANELS; panel++) {
                if (asks(tile, line))
                    ask_ahead(weight + panel * bytes, MAX_TILE_PANELS * bytes, line,
                              NEXT_LINE(tile, line, inputs, inverse));
                weights[panel] = _mm512_loadu_ph(weight + panel * bytes + line * LINE_BYTES);
            }
#pragma GCC unroll 12
            for (int r = 0; r < rows; r++) {
                __m512h all = _mm512_castsi512_ph(_mm512_set1_epi32(from[(size_t)r * stride + line]));
                for (int panel = 0; panel < MAX_TILE_PANELS; panel++)
                    chunk[r][panel] = _mm512_fmadd_ph(all, weights[panel], chunk[r][panel]);
            }
        }
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++)
            for (int panel = 0; panel < MAX_TILE_PANELS; panel++)
                add_chunk(chunk[r][panel], sums + r * HALF_OUTPUTS + panel * MAX_TILE_PANELS * LANES);
    }
}

void rudolph_half_sums(size_t rows, const Input *x, const Linear *linear, const Tile *tile, float *sums)
{
    EACH_ROW_COUNT(rows, half_sums, x, linear, tile, sums)
}

#else

float rudolph_half_row(const bf16 *x, size_t size, uint32_t *out)
{
    (void)x, (void)size, (void)out;
    return 0;
}

void rudolph_half_sums(size_t rows, const Input *x, const Linear *linear, const Tile *tile, float *sums)
{
    (void)rows, (void)x, (void)linear, (void)tile, (void)sums;
}

#endif
