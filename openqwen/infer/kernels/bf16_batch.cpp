// Products of some ten to some sixty rows with bf16 weights as they are, (N, K) row by row.
//
// 16 outputs at a time: their weights stay in the first cache while all rows go by, and those of the
// next 16 are asked for meanwhile. Each output adds up in 32 lanes over all of K, and the lanes in
// the order of `_mm512_reduce_add_ps`: the numbers are those of bf16.cpp, whatever rows stand beside.
#include <algorithm>
#include <vector>

#include "layers.h"

namespace {

constexpr int BLOCK = 16, LANES = 16;  // outputs at a time; floats a sum is kept in
constexpr int DEPTH = 1024;            // columns of K at a time
constexpr int OUTPUTS = 4, ROWS = 6;   // of a tile: 24 sums, 4 weights and a value in 32 registers
#define UNROLL _Pragma("GCC unroll 8")

// in assembly for the same reason as in linear.cpp
inline void multiply_add(__m512& sum, __m512i weights, __m512i x) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(weights), "v"(x));
}

// a piece of K: where it stands in the rows of x and in what is added up
struct Piece {
  int stride, depth;  // of rows, in elements; its columns
  bool begins, ends;  // K
};

// R rows against four outputs; meanwhile P rows of weights are asked for
template <int R, int P>
void tile(const Piece& piece, const Bf16* x, const Bf16* const* w, const Bf16* const* next,
          float* lanes, float* sums) {
  const size_t stride = piece.stride;
  __m512 acc[R][OUTPUTS];
  if (piece.begins) {
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int o = 0; o < OUTPUTS; o++) acc[r][o] = _mm512_setzero_ps();
  } else {
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int o = 0; o < OUTPUTS; o++)
            acc[r][o] = _mm512_loadu_ps(lanes + (r * BLOCK + o) * LANES);
  }
  const Bf16 *w0 = w[0], *w1 = w[1], *w2 = w[2], *w3 = w[3];
  const int whole = piece.depth / 32 * 32;
  for (int i = 0; i < whole; i += 32) {
    const __m512i a = _mm512_loadu_si512(w0 + i), b = _mm512_loadu_si512(w1 + i);
    const __m512i c = _mm512_loadu_si512(w2 + i), d = _mm512_loadu_si512(w3 + i);
    UNROLL for (int p = 0; p < P; p++) {
      _mm_prefetch(reinterpret_cast<const char*>(next[p] + i), _MM_HINT_T1);
    }
    UNROLL for (int r = 0; r < R; r++) {
      const __m512i value = _mm512_loadu_si512(x + r * stride + i);
      multiply_add(acc[r][0], a, value);
      multiply_add(acc[r][1], b, value);
      multiply_add(acc[r][2], c, value);
      multiply_add(acc[r][3], d, value);
    }
  }
  if (whole < piece.depth) {
    const __mmask32 mask = (1u << (piece.depth - whole)) - 1;
    UNROLL for (int r = 0; r < R; r++) {
      const __m512i value = _mm512_maskz_loadu_epi16(mask, x + r * stride + whole);
      UNROLL for (int o = 0; o < OUTPUTS; o++) {
        multiply_add(acc[r][o], _mm512_maskz_loadu_epi16(mask, w[o] + whole), value);
      }
    }
  }
  if (piece.ends) {
    UNROLL for (int r = 0; r < R; r++) {
      _mm_storeu_ps(sums + r * BLOCK, sums_of(acc[r][0], acc[r][1], acc[r][2], acc[r][3]));
    }
  } else {
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int o = 0; o < OUTPUTS; o++)
            _mm512_storeu_ps(lanes + (r * BLOCK + o) * LANES, acc[r][o]);
  }
}

template <int P>
void tile_of(int rows, const Piece& piece, const Bf16* x, const Bf16* const* w,
             const Bf16* const* next, float* lanes, float* sums) {
  switch (rows) {
    case 1: return tile<1, P>(piece, x, w, next, lanes, sums);
    case 2: return tile<2, P>(piece, x, w, next, lanes, sums);
    case 3: return tile<3, P>(piece, x, w, next, lanes, sums);
    case 4: return tile<4, P>(piece, x, w, next, lanes, sums);
    case 5: return tile<5, P>(piece, x, w, next, lanes, sums);
    default: return tile<6, P>(piece, x, w, next, lanes, sums);
  }
}

// all rows against a piece of 16 outputs; P tiles' share of the weights that come next
template <int P>
void all_rows(const Piece& piece, const Bf16* x, int m, const Bf16* const* w,
              const Bf16* const* next, float* lanes, float* sums) {
  const int tiles = (m + ROWS - 1) / ROWS;
  for (int t = 0, call = 0; t < tiles; t++) {
    const Share rows(m, t, tiles);
    for (int o = 0; o < BLOCK; o += OUTPUTS, call++) {
      const size_t at = size_t(rows.begin) * BLOCK + o;
      tile_of<P>(rows.end - rows.begin, piece, x + size_t(rows.begin) * piece.stride, w + o,
                 next + call * P % BLOCK, lanes + at * LANES, sums + at);
    }
  }
}

}  // namespace

void bf16_batch_part(const Matrix& w, const Bf16* x, int m, const Bf16* residual, Bf16* out,
                     int index, int team) {
  static thread_local std::vector<float> memory;  // grows, never shrinks
  const size_t needed = size_t(m) * BLOCK * (LANES + 1);
  if (memory.size() < needed) memory.resize(needed);
  float *sums = memory.data(), *lanes = sums + size_t(m) * BLOCK;
  const Bf16* weights = static_cast<const Bf16*>(w.weights);
  const int tiles = (m + ROWS - 1) / ROWS;
  const Share share((w.n + BLOCK - 1) / BLOCK, index, team);
  for (int block = share.begin; block < share.end; block++) {
    const int column = block * BLOCK;
    for (int begin = 0; begin < w.k; begin += DEPTH) {
      const int end = std::min(begin + DEPTH, w.k);
      const Bf16 *rows[BLOCK], *next[BLOCK];
      for (int i = 0; i < BLOCK; i++) {  // past the last there is nothing to read: it stands in
        rows[i] = weights + size_t(std::min(column + i, w.n - 1)) * w.k + begin;
        next[i] = end < w.k
                      ? rows[i] + DEPTH
                      : weights + size_t(std::min(column + BLOCK + i, w.n - 1)) * w.k;
      }
      const Piece piece{w.k, end - begin, begin == 0, end == w.k};
      if (tiles >= 4) {
        all_rows<1>(piece, x + begin, m, rows, next, lanes, sums);
      } else if (tiles >= 2) {
        all_rows<2>(piece, x + begin, m, rows, next, lanes, sums);
      } else {
        all_rows<4>(piece, x + begin, m, rows, next, lanes, sums);
      }
    }
    const __mmask16 mask = w.n - column >= 16 ? 0xFFFF : (1u << (w.n - column)) - 1;
    const __m512 bias = w.bias ? load16(w.bias + column, mask) : _mm512_setzero_ps();
    for (int row = 0; row < m; row++) {
      const size_t at = size_t(row) * w.n + column;
      __m512 y = _mm512_add_ps(_mm512_loadu_ps(sums + row * BLOCK), bias);
      if (residual) y = _mm512_add_ps(y, load16(residual + at, mask));
      store16(out + at, y, mask);
    }
  }
}
