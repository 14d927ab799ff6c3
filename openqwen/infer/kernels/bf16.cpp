// Linear layers of a few rows with bf16 weights as they are, (N, K) row by row: bound by memory.
#include <omp.h>

#include <algorithm>
#include <vector>

#include "input.h"
#include "layers.h"

constexpr int FEW_ROWS = 4;  // beyond, bf16_batch.cpp is faster
constexpr int AHEAD_BYTES = 8192;  // of reading, asked for early: 2.3 x the bandwidth on one token
#define UNROLL _Pragma("GCC unroll 8")

namespace {

struct Job {
  int m, n, k;
  const Bf16* weights;
  const float* bias;
  const Bf16* residual;
  Bf16* out;
};

inline __m512bh pairs(const Bf16* p, __mmask32 mask) {
  return (__m512bh)_mm512_maskz_loadu_epi16(mask, p);
}

// in assembly for the same reason as in linear.cpp
inline void multiply_add(__m512& sum, __m512bh weights, __m512bh x) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(weights), "v"(x));
}

// R rows of x against O outputs
template <int R, int O>
void tile(const Job& job, const Bf16* x, int row, int column) {
  __m512 sums[R][O];
  UNROLL for (int r = 0; r < R; r++)
      UNROLL for (int o = 0; o < O; o++) sums[r][o] = _mm512_setzero_ps();
  for (int i = 0; i < job.k; i += 32) {
    const __mmask32 mask = job.k - i >= 32 ? ~0u : (1u << (job.k - i)) - 1;
    __m512bh w[O];
    UNROLL for (int o = 0; o < O; o++) {
      const Bf16* at = job.weights + size_t(column + o) * job.k + i;
      _mm_prefetch(reinterpret_cast<const char*>(at) + AHEAD_BYTES, _MM_HINT_T0);
      w[o] = pairs(at, mask);
    }
    UNROLL for (int r = 0; r < R; r++) {
      const __m512bh value = pairs(x + size_t(row + r) * job.k + i, mask);
      UNROLL for (int o = 0; o < O; o++) {
        multiply_add(sums[r][o], w[o], value);
      }
    }
  }
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int o = 0; o < O; o++) {
      const size_t at = size_t(row + r) * job.n + column + o;
      float y = _mm512_reduce_add_ps(sums[r][o]);
      if (job.bias) y += job.bias[column + o];
      if (job.residual) y += to_float(job.residual[at]);
      store16(job.out + at, _mm512_set1_ps(y), 1);
    }
  }
}

// every row against O outputs; the weights come from memory once
template <int O>
void all_rows(const Job& job, const Bf16* x, int column) {
  int row = 0;
  for (; row + 4 <= job.m; row += 4) tile<4, O>(job, x, row, column);
  for (; row + 2 <= job.m; row += 2) tile<2, O>(job, x, row, column);
  for (; row < job.m; row++) tile<1, O>(job, x, row, column);
}

}  // namespace

void bf16_part(const Matrix& w, const Source& x, int m, const void* residual, void* out,
               Scratch& scratch, int index, int team) {
  const int k = w.k;
  Bf16* shared = scratch.rows.data();
  const Input<Bf16> input{static_cast<const Bf16*>(x.x), x.prologue, k, x.norm, x.eps};
  const Job job{m, w.n, k, static_cast<const Bf16*>(w.weights), w.bias,
                static_cast<const Bf16*>(residual), static_cast<Bf16*>(out)};
  const Share part((k + 15) / 16, index, team);  // of every row
  for (int row = 0; row < m; row++) {
    const float scale = input.row_scale(row);
    for (int i = 16 * part.begin; i < std::min(16 * part.end, k); i += 16) {
      store16(shared + size_t(row) * k + i, input.columns(row, i, scale), lanes(k - i));
    }
  }
#pragma omp barrier
  if (m > FEW_ROWS) return bf16_batch_part(w, shared, m, job.residual, job.out, index, team);
  const Share share(w.n, index, team);
  int column = share.begin;
  for (; column + 4 <= share.end; column += 4) all_rows<4>(job, shared, column);
  for (; column < share.end; column++) all_rows<1>(job, shared, column);
}
