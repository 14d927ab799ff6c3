// The output projection for scoring: of each row's logits only the largest, the logarithm of the
// sum of all exponentials, and some that are asked for. The logits themselves stay in registers.
//
// x (rows, K) and w (V, K) are bf16, products are added in f32. 32 rows of w at a time are packed as
// [K/2][32][2], so that one instruction multiplies 16 of them by two elements of x.
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "layers.h"

namespace {

// the vocabulary falls into fixed parts, each done by one thread: sums don't depend on the team
constexpr int PANEL = 32, PARTS = 64, ROWS = 8;
constexpr float NEVER = -1e30f;
#define UNROLL _Pragma("GCC unroll 16")

// in assembly for the same reason as in linear.cpp
inline void multiply_add(__m512& sum, __m512i pairs, __m512i spread) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(pairs), "v"(spread));
}

// 16 rows of 16 four-byte elements -> 16 columns
inline void transpose(__m512i* r) {
  __m512i t[16];
  UNROLL for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  UNROLL for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  UNROLL for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  UNROLL for (int i = 0; i < 4; i++) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

void pack(const Bf16* w, int k, int count, Bf16* to) {
  for (int i = 0; i < k; i += 32) {
    for (int half = 0; half < PANEL; half += 16) {
      __m512i rows[16];
      UNROLL for (int r = 0; r < 16; r++) {
        rows[r] = half + r < count ? _mm512_loadu_si512(w + size_t(half + r) * k + i)
                                   : _mm512_setzero_si512();
      }
      transpose(rows);
      UNROLL for (int r = 0; r < 16; r++) {
        _mm512_store_si512(to + (size_t(i / 2 + r) * PANEL + half) * 2, rows[r]);
      }
    }
  }
}

// of one row over a part of the vocabulary
struct State {
  float most = NEVER, sum = 0;
  int best = 0;

  void take(__m512 low, __m512 high, int column) {
    const float here = _mm512_reduce_max_ps(_mm512_max_ps(low, high));
    if (here > most) {
      sum *= std::exp(most - here);
      most = here;
      const __m512 top = _mm512_set1_ps(here);
      const uint32_t at = _mm512_cmpeq_ps_mask(low, top) |
                          uint32_t(_mm512_cmpeq_ps_mask(high, top)) << 16;
      best = column + __builtin_ctz(at);
    }
    const __m512 by = _mm512_set1_ps(most);
    sum += _mm512_reduce_add_ps(
        _mm512_add_ps(exp16(_mm512_sub_ps(low, by)), exp16(_mm512_sub_ps(high, by))));
  }
};

template <int R>
void tile(const Bf16* x, int k, const Bf16* packed, int column, int count, State* states) {
  __m512 low[R], high[R];
  UNROLL for (int r = 0; r < R; r++) low[r] = high[r] = _mm512_setzero_ps();
  for (int i = 0; i < k; i += 2, packed += 2 * PANEL) {
    const __m512i a = _mm512_load_si512(packed), b = _mm512_load_si512(packed + PANEL);
    UNROLL for (int r = 0; r < R; r++) {
      int32_t pair;
      std::memcpy(&pair, x + size_t(r) * k + i, 4);
      const __m512i spread = _mm512_set1_epi32(pair);
      multiply_add(low[r], a, spread);
      multiply_add(high[r], b, spread);
    }
  }
  alignas(64) float logits[R][PANEL];  // stored by constant indices, or gcc keeps sums in memory
  UNROLL for (int r = 0; r < R; r++) {
    _mm512_store_ps(logits[r], low[r]);
    _mm512_store_ps(logits[r] + 16, high[r]);
  }
  const __mmask32 there = count >= PANEL ? ~0u : (1u << count) - 1;
  const __m512 never = _mm512_set1_ps(NEVER);
  for (int r = 0; r < R; r++) {
    states[r].take(_mm512_mask_loadu_ps(never, __mmask16(there), logits[r]),
                   _mm512_mask_loadu_ps(never, __mmask16(there >> 16), logits[r] + 16), column);
  }
}

void all_rows(const Bf16* x, int rows, int k, const Bf16* packed, int column, int count,
              State* states) {
  int row = 0;
  for (; row + ROWS <= rows; row += ROWS) {
    tile<ROWS>(x + size_t(row) * k, k, packed, column, count, states + row);
  }
  for (; row + 4 <= rows; row += 4) {
    tile<4>(x + size_t(row) * k, k, packed, column, count, states + row);
  }
  for (; row < rows; row++) {
    tile<1>(x + size_t(row) * k, k, packed, column, count, states + row);
  }
}

float dot(const Bf16* x, const Bf16* y, int k) {
  __m512 sum = _mm512_setzero_ps();
  for (int i = 0; i < k; i += 32) {
    multiply_add(sum, _mm512_loadu_si512(x + i), _mm512_loadu_si512(y + i));
  }
  return _mm512_reduce_add_ps(sum);
}

}  // namespace

// K a multiple of 32. log_sums and best (rows); picked (count) are the logits of tokens[i] behind
// row at[i]
extern "C" void openqwen_score(const void* states, const void* weights, int rows, int vocab, int k,
                               float* log_sums, int32_t* best, const int32_t* at,
                               const int32_t* tokens, int count, float* picked, int threads) {
  const Bf16 *x = static_cast<const Bf16*>(states), *w = static_cast<const Bf16*>(weights);
  const int panels = (vocab + PANEL - 1) / PANEL;
  std::vector<State> found(size_t(PARTS) * rows);
  std::atomic<int> next{0};
#pragma omp parallel num_threads(threads)
  {
    const Share share(count, omp_get_thread_num(), omp_get_num_threads());
    for (int i = share.begin; i < share.end; i++) {
      picked[i] = dot(x + size_t(at[i]) * k, w + size_t(tokens[i]) * k, k);
    }
    std::vector<Bf16> memory(size_t(k) * PANEL + 32);
    Bf16* const packed =
        reinterpret_cast<Bf16*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) & ~uintptr_t(63));
    for (int part; (part = next.fetch_add(1)) < PARTS;) {
      const Share mine(panels, part, PARTS);
      for (int panel = mine.begin; panel < mine.end; panel++) {
        const int column = panel * PANEL, here = std::min(PANEL, vocab - column);
        pack(w + size_t(column) * k, k, here, packed);
        all_rows(x, rows, k, packed, column, here, &found[size_t(part) * rows]);
      }
    }
  }
  for (int row = 0; row < rows; row++) {
    State whole;
    for (int part = 0; part < PARTS; part++) {
      const State& one = found[size_t(part) * rows + row];
      const float top = std::max(whole.most, one.most);
      whole.sum = whole.sum * std::exp(whole.most - top) + one.sum * std::exp(one.most - top);
      if (one.most > whole.most) whole.best = one.best;
      whole.most = top;
    }
    log_sums[row] = whole.most + std::log(whole.sum);
    best[row] = whole.best;
  }
}
