// Tiles of a quantised product on AVX2; see linear.cpp. Its twin is tiles_avx512.h: the integers are
// the same, and so is the order in which groups are added, so the results are equal bit for bit.
//
// One instruction multiplies 32 unsigned by 32 signed bytes and adds pairs in 16 bits. Weights of 4
// bits are small enough that a group of 32 columns adds up there (8 · 2 · 15 · 127 < 2^15). Those of
// 8 bits would overflow, so |x| is multiplied by the weight with x's sign, and widened at once.
#pragma once
#include <algorithm>

#include "tiles.h"

namespace {

constexpr int CACHED_BYTES = 1 << 18;  // of activations that stay in the second cache
constexpr int MOST_ROWS = 4;           // of a tile: 8 accumulators and what they need in 16 registers
constexpr int AHEAD = 3072;            // bytes, of weights that are asked for
constexpr int LINE = 128;              // bytes that a panel takes in a step

inline int rows_of_tile(int) { return MOST_ROWS; }

// What a group's sum begins with. Of 4 bits it stands in one of the two words that add up, and fits
// there: |sum of 16 (weight - 8) · x| + |8 · sum of 16 x| <= 2 · 8 · 16 · 127 < 2^15.
inline int32_t beginning(int bits, int32_t offset) { return bits == 4 ? offset & 0xFFFF : 0; }

// Sums in 16 or 32 bits; in assembly because gcc 12 adds in another order and runs out of registers.
inline void add_words(__m256i& sum, __m256i weights, __m256i x) {
  __m256i product;
  asm("vpmaddubsw %3, %2, %1\n\tvpaddw %1, %0, %0"
      : "+x"(sum), "=&x"(product) : "x"(weights), "x"(x));
}
inline void add_wholes(__m256i& sum, __m256i weights, __m256i x, __m256i size, __m256i ones) {
  __m256i product;
  asm("vpsignb %3, %2, %1\n\tvpmaddubsw %1, %4, %1\n\tvpmaddwd %5, %1, %1\n\tvpaddd %1, %0, %0"
      : "+x"(sum), "=&x"(product) : "x"(weights), "x"(x), "x"(size), "x"(ones));
}

// weights of a step; asks for later ones, as the processor by itself foresees halves of panels badly
template <int C>
inline void load(const uint8_t* w, __m256i (&stored)[C]) {
  UNROLL for (int c = 0; c < C; c += 2)
      _mm_prefetch(reinterpret_cast<const char*>(w + 32 * c + AHEAD), _MM_HINT_T0);
  UNROLL for (int c = 0; c < C; c++)
      stored[c] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w) + c);
}

// One group of columns of R rows of x against C vectors of 8 outputs, whose sums begin at 0. A
// function of its own, as it needs all registers.
template <int R, int C>
__attribute__((noinline)) void add_up_bytes(const uint8_t* w, const int32_t* x, int group,
                                            __m256i (&acc)[R][C]) {
  const __m256i ones = _mm256_set1_epi16(1), middle = _mm256_set1_epi8(-128);
  __m256i sums[R][C];
  UNROLL for (int r = 0; r < R; r++)
      UNROLL for (int c = 0; c < C; c++) sums[r][c] = _mm256_setzero_si256();
  for (int q = 0; q < group; q += 4, w += LINE, x += R) {
    __m256i wide[C];
    load(w, wide);
    UNROLL for (int c = 0; c < C; c++) wide[c] = _mm256_xor_si256(wide[c], middle);
    UNROLL for (int r = 0; r < R; r++) {
      const __m256i spread = _mm256_set1_epi32(x[r]), size = _mm256_abs_epi8(spread);
      UNROLL for (int c = 0; c < C; c++) add_wholes(sums[r][c], wide[c], spread, size, ones);
    }
  }
  UNROLL for (int r = 0; r < R; r++)
      UNROLL for (int c = 0; c < C; c++) acc[r][c] = sums[r][c];
}

// the same for nibbles
template <int R, int C>
inline void add_up_nibbles(const uint8_t* w, const int32_t* x, int group,
                           const int32_t* beginnings, __m256i (&acc)[R][C]) {
  const __m256i ones = _mm256_set1_epi16(1), low = _mm256_set1_epi8(15);
  UNROLL for (int r = 0; r < R; r++)
      UNROLL for (int c = 0; c < C; c++) acc[r][c] = _mm256_set1_epi32(beginnings[r]);
  for (int q = 0; q < group; q += 8, w += LINE) {
    UNROLL for (int half = 0; half < 2; half++, x += R) {
      __m256i wide[C];
      load(w, wide);  // from the first cache for the second half, as registers are few
      UNROLL for (int c = 0; c < C; c++)
          wide[c] = _mm256_and_si256(half ? _mm256_srli_epi16(wide[c], 4) : wide[c], low);
      UNROLL for (int r = 0; r < R; r++) {
        const __m256i spread = _mm256_set1_epi32(x[r]);
        UNROLL for (int c = 0; c < C; c++) add_words(acc[r][c], wide[c], spread);
      }
    }
  }
  UNROLL for (int r = 0; r < R; r++)
      UNROLL for (int c = 0; c < C; c++) acc[r][c] = _mm256_madd_epi16(acc[r][c], ones);
}

// R rows of x against C vectors of 8 outputs of a panel, from its `first` on
template <int R, int C, int BITS, typename T>
void tile(const Job& job, int panel, int first, int row) {
  const int groups = job.k / job.group, per_byte = 8 / BITS;
  const uint8_t* w = job.weights + size_t(panel) * PANEL * (job.k / per_byte) + 32 * first;
  const uint16_t* scales = job.scales + size_t(panel) * groups * PANEL + 8 * first;
  const int32_t* x = job.a->fours.data() + size_t(row) * (job.k / 4);
  const float* x_scales = job.a->scales.data() + size_t(row) * groups;
  const int32_t* beginnings = job.a->beginnings.data() + size_t(row) * groups;
  __m256 sums[R][C];
  UNROLL for (int r = 0; r < R; r++)
      UNROLL for (int c = 0; c < C; c++) sums[r][c] = _mm256_setzero_ps();
  const size_t group_bytes = size_t(job.group / (BITS == 8 ? 4 : 8)) * LINE;
  const int group_fours = job.group / 4 * R;
  for (int g = 0; g < groups; g++, x_scales += R, beginnings += R, scales += PANEL) {
    __m256i acc[R][C];
    if (BITS == 8) {
      add_up_bytes<R, C>(w, x, job.group, acc);
    } else {
      add_up_nibbles<R, C>(w, x, job.group, beginnings, acc);
    }
    UNROLL for (int c = 0; c < C; c++) {
      const __m256 scale =
          _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(scales + 8 * c)));
      UNROLL for (int r = 0; r < R; r++) {
        const __m256 by = _mm256_mul_ps(scale, _mm256_set1_ps(x_scales[r]));
        sums[r][c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(acc[r][c]), by, sums[r][c]);
      }
    }
    w += group_bytes;
    x += group_fours;
  }
  UNROLL for (int c = 0; c < C; c += 2) {
    const int column = panel * PANEL + 8 * (first + c);
    if (column >= job.n) break;
    const Lanes mask = lanes(job.n - column);
    const Floats bias = job.bias ? load16(job.bias + column, mask) : zeros();
    UNROLL for (int r = 0; r < R; r++) {
      const size_t at = size_t(row + r) * job.n + column;
      Floats y = Floats{sums[r][c], sums[r][c + 1]} + bias;
      if (job.residual) y = y + load16(static_cast<const T*>(job.residual) + at, mask);
      store16(static_cast<T*>(job.out) + at, y, mask);
    }
  }
}

// rows [row, end) against a panel: half of it at a time, so that it stays in the first cache
template <int BITS, typename T>
void all_rows(const Job& job, int panel, int row, int end) {
  if (end - row == 1) return tile<1, 4, BITS, T>(job, panel, 0, row);
  for (int first = 0; first < 4; first += 2) {
    int at = row;
    for (; at + 4 <= end; at += 4) tile<4, 2, BITS, T>(job, panel, first, at);
    switch (end - at) {
      case 3: tile<3, 2, BITS, T>(job, panel, first, at); break;
      case 2: tile<2, 2, BITS, T>(job, panel, first, at); break;
      case 1: tile<1, 2, BITS, T>(job, panel, first, at); break;
      default: break;
    }
  }
}

// few enough rows at a time that their activations stay in the second cache while panels go by
template <int BITS, typename T>
void some_panels(const Job& job, int begin, int end) {
  const int step = std::max(1, CACHED_BYTES / job.k / MOST_ROWS) * MOST_ROWS;
  for (int row = 0; row < job.m; row += step) {
    for (int panel = begin; panel < end; panel++) {
      all_rows<BITS, T>(job, panel, row, std::min(row + step, job.m));
    }
  }
}

}  // namespace
