// Tiles of a quantised product on AVX-512 VNNI; see linear.cpp. Its twin is tiles_avx2.h.
#pragma once
#include <algorithm>

#include "tiles.h"

namespace {

constexpr int CACHED_BYTES = 1 << 19;  // of activations that stay in the second cache

// a tile has at most this many rows, so that its accumulators fit into the registers
inline int rows_of_tile(int m) { return m <= 6 ? 6 : 12; }
constexpr int MOST_ROWS = 12;

// what a group's sum begins with: what the weights' unsigned form adds, negated
inline int32_t beginning(int, int32_t offset) { return offset; }

// sum += dot products of four unsigned and four signed bytes a lane; written in assembly because
// gcc 12 moves the accumulators of the intrinsic to memory and back
inline void multiply_add(__m512i& sum, __m512i weights, __m512i x) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(weights), "v"(x));
}

// R rows of x against P panels; R x P x 2 accumulators must fit into the 32 registers
template <int R, int P, int BITS, typename T>
void tile(const Job& job, int panel, int row) {
  constexpr int C = 2 * P, LINE = 128;  // vectors of 16 outputs; bytes a panel takes in a step
  const int groups = job.k / job.group, per_step = BITS == 8 ? 4 : 8;  // columns
  const size_t panel_bytes = size_t(job.k / per_step) * LINE;
  const uint8_t* w = job.weights + size_t(panel) * panel_bytes;
  const uint16_t* scales = job.scales + size_t(panel) * groups * PANEL;
  const __m512i low = _mm512_set1_epi8(15);
  const int32_t* x = job.a->fours.data() + size_t(row) * (job.k / 4);
  const float* x_scales = job.a->scales.data() + size_t(row) * groups;
  const int32_t* beginnings = job.a->beginnings.data() + size_t(row) * groups;
  __m512 sums[R][C];
  UNROLL for (int r = 0; r < R; r++)
    UNROLL for (int c = 0; c < C; c++) sums[r][c] = _mm512_setzero_ps();
  for (int g = 0; g < groups; g++, x_scales += R, beginnings += R) {
    __m512i acc[R][C];
    UNROLL for (int r = 0; r < R; r++)
      UNROLL for (int c = 0; c < C; c++) acc[r][c] = _mm512_set1_epi32(beginnings[r]);
    for (int q = 0; q < job.group; q += per_step, w += LINE) {
      __m512i stored[C], wide[C];
      UNROLL for (int c = 0; c < C; c++) {
        stored[c] = _mm512_loadu_si512(w + (c / 2) * panel_bytes + 64 * (c % 2));
        wide[c] = BITS == 8 ? stored[c] : _mm512_and_si512(stored[c], low);
      }
      UNROLL for (int r = 0; r < R; r++) {
        const __m512i spread = _mm512_set1_epi32(x[r]);
        UNROLL for (int c = 0; c < C; c++)
          multiply_add(acc[r][c], wide[c], spread);
      }
      x += R;
      if (BITS == 8) continue;
      UNROLL for (int c = 0; c < C; c++)
        wide[c] = _mm512_and_si512(_mm512_srli_epi16(stored[c], 4), low);
      UNROLL for (int r = 0; r < R; r++) {
        const __m512i spread = _mm512_set1_epi32(x[r]);
        UNROLL for (int c = 0; c < C; c++)
          multiply_add(acc[r][c], wide[c], spread);
      }
      x += R;
    }
    UNROLL for (int c = 0; c < C; c++) {
      const __m512 scale = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(
          scales + (size_t(c / 2) * groups + g) * PANEL + 16 * (c % 2))));
      UNROLL for (int r = 0; r < R; r++) {
        const __m512 by = _mm512_mul_ps(scale, _mm512_set1_ps(x_scales[r]));
        sums[r][c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[r][c]), by, sums[r][c]);
      }
    }
  }
  UNROLL for (int c = 0; c < C; c++) {
    const int column = panel * PANEL + 16 * c;
    if (column >= job.n) break;
    const Lanes mask = lanes(job.n - column);
    const __m512 bias = job.bias ? load16(job.bias + column, mask) : _mm512_setzero_ps();
    UNROLL for (int r = 0; r < R; r++) {
      const size_t at = size_t(row + r) * job.n + column;
      __m512 y = _mm512_add_ps(sums[r][c], bias);
      if (job.residual) y = _mm512_add_ps(y, load16(static_cast<const T*>(job.residual) + at, mask));
      store16(static_cast<T*>(job.out) + at, y, mask);
    }
  }
}

// rows [row, end) against `P` panels from `panel` on: twelve rows a tile for one panel, six for two
template <int P, int BITS, typename T>
void all_rows(const Job& job, int panel, int row, int end) {
  constexpr int MOST = 12 / P;
  for (; row + MOST <= end; row += MOST) tile<MOST, P, BITS, T>(job, panel, row);
  switch (end - row) {
    case 11: return tile<P == 1 ? 11 : 1, P, BITS, T>(job, panel, row);
    case 10: return tile<P == 1 ? 10 : 1, P, BITS, T>(job, panel, row);
    case 9: return tile<P == 1 ? 9 : 1, P, BITS, T>(job, panel, row);
    case 8: return tile<P == 1 ? 8 : 1, P, BITS, T>(job, panel, row);
    case 7: return tile<P == 1 ? 7 : 1, P, BITS, T>(job, panel, row);
    case 6: return tile<P == 1 ? 6 : 1, P, BITS, T>(job, panel, row);
    case 5: return tile<5, P, BITS, T>(job, panel, row);
    case 4: return tile<4, P, BITS, T>(job, panel, row);
    case 3: return tile<3, P, BITS, T>(job, panel, row);
    case 2: return tile<2, P, BITS, T>(job, panel, row);
    case 1: return tile<1, P, BITS, T>(job, panel, row);
    default: return;
  }
}

// few enough rows at a time that their activations stay in the second cache while panels go by
template <int BITS, typename T>
void some_panels(const Job& job, int begin, int end) {
  int panel = begin;
  if (job.m <= 6) {
    for (; panel + 2 <= end; panel += 2) all_rows<2, BITS, T>(job, panel, 0, job.m);
  }
  const int step = job.m <= 6 ? 6 : std::max(1, CACHED_BYTES / job.k / 12) * 12;
  for (int row = 0; row < job.m; row += step) {
    for (int p = panel; p < end; p++) {
      all_rows<1, BITS, T>(job, p, row, std::min(row + step, job.m));
    }
  }
}

}  // namespace
