// Attention of many queries in bf16, block by block of keys with a running softmax, so that scores
// never go to memory (FlashAttention, 2022). Causal, with an optional window; keys that no query of
// a block sees are not touched, so work shrinks with the window.
//
// Keys are packed once, 64 to a block, so that one instruction multiplies 16 keys by two elements:
// [E/2][64 keys][2]; values so that it multiplies 16 elements by two keys: [32][E][2].
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "layers.h"

namespace {

// of four rows: gcc 12 keeps no more accumulators than 16 beside the rest in registers
constexpr int KEYS = 64, QUERIES = 24, ROWS = 4;  // of a block, of an item of work, of a tile
constexpr float NEVER = -1e30f;
#define UNROLL _Pragma("GCC unroll 8")

// in assembly for the same reason as in linear.cpp
inline void multiply_add(__m512& sum, __m512i pairs, __m512i spread) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(pairs), "v"(spread));
}

inline __m512i spread_pair(const Bf16* p) {
  int32_t pair;
  std::memcpy(&pair, p, 4);
  return _mm512_set1_epi32(pair);
}

// 2^x to 4e-6, which is more than bf16 keeps; 0 far below
inline __m512 exp2_short(__m512 x) {
  const __m512 n = _mm512_roundscale_ps(x, 0);
  const __m512 r = _mm512_sub_ps(x, n);
  __m512 p = _mm512_set1_ps(0.00967f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.05550357f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.24022651f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.69314718f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, n);
}

struct Strides {
  int64_t batch, head, token;
};

struct Job {
  const Bf16 *q, *k, *v;  // q (batch, heads, length, E), contiguous
  Strides ks, vs;
  Heads shape;
  int batch, length, window;
  const int32_t* starts;  // position of each sequence's first query
  Bf16* y;                // (batch, length, heads, E)
};

// keys and values of one sequence's head, from block `first` on
struct Packed {
  const Bf16 *keys, *values;
};

void pack_block(const Job& job, int row, int head, int block, int count, Bf16* keys, Bf16* values) {
  const int size = job.shape.size;
  const int begin = block * KEYS, here = std::min(KEYS, count - begin);
  const Bf16* k = job.k + row * job.ks.batch + head * job.ks.head;
  const Bf16* v = job.v + row * job.vs.batch + head * job.vs.head;
  for (int key = 0; key < KEYS; key++) {
    for (int i = 0; i < size; i += 2) {
      uint32_t pair = 0;
      if (key < here) std::memcpy(&pair, k + (begin + key) * job.ks.token + i, 4);
      std::memcpy(keys + (size_t(i / 2) * KEYS + key) * 2, &pair, 4);
    }
  }
  for (int key = 0; key < KEYS; key += 2) {
    Bf16* to = values + size_t(key) * size;
    const Bf16* first = v + (begin + key) * job.vs.token;
    const Bf16* second = first + job.vs.token;
    for (int i = 0; i < size; i += 16) {
      const __m256i none = _mm256_setzero_si256();
      const __m256i a = key < here ? _mm256_loadu_si256((const __m256i*)(first + i)) : none;
      const __m256i b = key + 1 < here ? _mm256_loadu_si256((const __m256i*)(second + i)) : none;
      const __m512i wide = _mm512_or_si512(_mm512_cvtepu16_epi32(a),
                                           _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16));
      _mm512_storeu_si512(to + 2 * i, wide);
    }
  }
}

// running softmax of a tile's rows
struct State {
  alignas(64) float most[16], sum[16];
};

template <int R, int C>
void gather(const Bf16* probs, const Bf16* values, int size, const float* shrink, float* out) {
  __m512 sums[R][C];
  UNROLL for (int r = 0; r < R; r++) {
    const __m512 by = _mm512_set1_ps(shrink[r]);
    UNROLL for (int c = 0; c < C; c++) {
      sums[r][c] = _mm512_mul_ps(_mm512_loadu_ps(out + r * size + 16 * c), by);
    }
  }
  for (int key = 0; key < KEYS; key += 2, values += 2 * size) {
    __m512i v[C];
    UNROLL for (int c = 0; c < C; c++) v[c] = _mm512_loadu_si512(values + 32 * c);
    UNROLL for (int r = 0; r < R; r++) {
      const __m512i p = spread_pair(probs + r * KEYS + key);
      UNROLL for (int c = 0; c < C; c++) multiply_add(sums[r][c], v[c], p);
    }
  }
  UNROLL for (int r = 0; r < R; r++)
      UNROLL for (int c = 0; c < C; c++) _mm512_storeu_ps(out + r * size + 16 * c, sums[r][c]);
}

// dot products of R queries with one block of keys, (R, KEYS)
template <int R>
void score(const Bf16* q, int size, const Bf16* keys, float* scores) {
  constexpr int C = KEYS / 16;
  __m512 sums[R][C];
  UNROLL for (int r = 0; r < R; r++)
      UNROLL for (int c = 0; c < C; c++) sums[r][c] = _mm512_setzero_ps();
  for (int i = 0; i < size; i += 2, keys += 2 * KEYS) {
    __m512i k[C];
    UNROLL for (int c = 0; c < C; c++) k[c] = _mm512_loadu_si512(keys + 32 * c);
    UNROLL for (int r = 0; r < R; r++) {
      const __m512i pair = spread_pair(q + r * size + i);
      UNROLL for (int c = 0; c < C; c++) multiply_add(sums[r][c], k[c], pair);
    }
  }
  UNROLL for (int r = 0; r < R; r++)
      UNROLL for (int c = 0; c < C; c++) _mm512_store_ps(scores + r * KEYS + 16 * c, sums[r][c]);
}

// one row of scores, keys low to high of the block seen: its probabilities and what they add up to,
// under a maximum that only grows
float soften(float* scores, int low, int high, float scale, float* most, Bf16* probs) {
  constexpr int C = KEYS / 16;
  const __m512 by = _mm512_set1_ps(scale);
  __m512 s[C];
  __mmask16 seen[C];
  UNROLL for (int c = 0; c < C; c++) {
    const int from = std::min(std::max(low - 16 * c, 0), 16);
    const int to = std::min(std::max(high - 16 * c, 0), 16);
    seen[c] = ((1u << to) - 1) & ~((1u << from) - 1);
    s[c] = _mm512_mask_mul_ps(_mm512_set1_ps(NEVER), seen[c], by,
                              _mm512_load_ps(scores + 16 * c));
  }
  const __m512 top = _mm512_max_ps(_mm512_max_ps(s[0], s[1]), _mm512_max_ps(s[2], s[3]));
  *most = std::max(*most, _mm512_reduce_max_ps(top));
  const __m512 now = _mm512_set1_ps(*most);
  UNROLL for (int c = 0; c < C; c++) {
    s[c] = _mm512_maskz_mov_ps(seen[c], exp2_short(_mm512_sub_ps(s[c], now)));
    _mm256_store_si256((__m256i*)(probs + 16 * c), (__m256i)_mm512_cvtneps_pbh(s[c]));
  }
  return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(s[0], s[1]), _mm512_add_ps(s[2], s[3])));
}

// R queries, the first at position `place`, against one block of keys
template <int R>
void tile(const Bf16* q, int size, int place, int window, int block, Packed packed, float scale,
          State& state, float* out) {
  alignas(64) float scores[R * KEYS], shrink[16], added[16];
  alignas(64) Bf16 probs[R * KEYS];
  score<R>(q, size, packed.keys, scores);
  const __m512 before = _mm512_load_ps(state.most);
  for (int r = 0; r < R; r++) {
    const int high = std::min(place + r + 1 - block * KEYS, KEYS);
    const int low = window ? std::max(place + r + 1 - window - block * KEYS, 0) : 0;
    added[r] = soften(scores + r * KEYS, low, high, scale, &state.most[r], probs + r * KEYS);
  }
  const __m512 by = exp2_short(_mm512_sub_ps(before, _mm512_load_ps(state.most)));
  _mm512_store_ps(shrink, by);
  _mm512_store_ps(state.sum,
                  _mm512_fmadd_ps(_mm512_load_ps(state.sum), by, _mm512_load_ps(added)));
  int column = 0;
  for (; column + 64 <= size; column += 64) {
    gather<R, 4>(probs, packed.values + 2 * column, size, shrink, out + column);
  }
  for (; column < size; column += 16) {
    gather<R, 1>(probs, packed.values + 2 * column, size, shrink, out + column);
  }
}

template <int R>
void finish(const State& state, const float* out, int size, int64_t stride, Bf16* y) {
  for (int r = 0; r < R; r++) {
    const __m512 by = _mm512_set1_ps(1.0f / state.sum[r]);
    for (int i = 0; i < size; i += 16) {
      store16(y + r * stride + i, _mm512_mul_ps(_mm512_loadu_ps(out + r * size + i), by));
    }
  }
}

template <typename Act>
void with_rows(int rows, Act act) {
  switch (rows) {
    case 1: return act(std::integral_constant<int, 1>());
    case 2: return act(std::integral_constant<int, 2>());
    case 3: return act(std::integral_constant<int, 3>());
    default: return act(std::integral_constant<int, ROWS>());
  }
}

// up to QUERIES queries of one head; `first` is the block that `packed` begins with
void attend_block(const Job& job, int row, int head, int begin, int first, Packed packed) {
  const int size = job.shape.size, heads = job.shape.heads, start = job.starts[row];
  const int end = std::min(begin + QUERIES, job.length), window = job.window;
  const float scale = 1.44269504f / std::sqrt(float(size));
  const int64_t stride = int64_t(heads) * size;
  alignas(64) float out[QUERIES * 256] = {};
  State states[QUERIES / ROWS];
  for (State& state : states) {
    std::fill_n(state.most, 16, NEVER);
    std::fill_n(state.sum, 16, 0.0f);
  }
  const Bf16* q = job.q + (size_t(row) * heads + head) * job.length * size;
  Bf16* y = job.y + (size_t(row) * job.length * heads + head) * size;
  const int low = window ? std::max(0, start + begin + 1 - window) / KEYS : 0;
  const int high = (start + end - 1) / KEYS;
  for (int block = low; block <= high; block++) {
    const size_t at = size_t(block - first) * KEYS * size;
    const Packed here{packed.keys + at, packed.values + at};
    for (int t = begin; t < end; t += ROWS) {
      const int place = start + t, rows = std::min(ROWS, end - t);
      const bool none = block * KEYS > place + rows - 1 ||
                        (window && block * KEYS + KEYS <= place + 1 - window);
      if (none) continue;
      with_rows(rows, [&](auto r) {
        tile<r.value>(q + size_t(t) * size, size, place, window, block, here, scale,
                      states[(t - begin) / ROWS], out + (t - begin) * size);
      });
    }
  }
  for (int t = begin; t < end; t += ROWS) {
    with_rows(std::min(ROWS, end - t), [&](auto r) {
      finish<r.value>(states[(t - begin) / ROWS], out + (t - begin) * size, size, stride,
                      y + t * stride);
    });
  }
}

}  // namespace

// keys and values by strides, in elements: (batch, kv_heads, tokens, E), E a multiple of 16 up to 256;
// a window of 0 is none
extern "C" void openqwen_attend(const void* q, const void* k, const void* v, const int64_t* strides,
                                int heads, int kv_heads, int size, int batch, int length,
                                const int32_t* starts, int window, void* y, int threads) {
  const Job job{static_cast<const Bf16*>(q), static_cast<const Bf16*>(k),
                static_cast<const Bf16*>(v), {strides[0], strides[1], strides[2]},
                {strides[3], strides[4], strides[5]}, {heads, kv_heads, size}, batch, length,
                window, starts, static_cast<Bf16*>(y)};
  static thread_local std::vector<Bf16> memory;
  const int group = heads / kv_heads, items = (length + QUERIES - 1) / QUERIES;
  for (int row = 0; row < batch; row++) {
    const int count = starts[row] + length, last = (count - 1) / KEYS;
    const int first = window ? std::max(0, starts[row] + 1 - window) / KEYS : 0;
    const int blocks = last - first + 1;
    const size_t of_block = size_t(KEYS) * size, of_head = blocks * of_block;
    if (memory.size() < 2 * kv_heads * of_head) memory.resize(2 * kv_heads * of_head);
    Bf16* const keys = memory.data();
    Bf16* const values = keys + kv_heads * of_head;
    std::atomic<int> next{0};
#pragma omp parallel num_threads(threads)
    {
      const Share share(kv_heads * blocks, omp_get_thread_num(), omp_get_num_threads());
      for (int i = share.begin; i < share.end; i++) {
        pack_block(job, row, i / blocks, first + i % blocks, count, keys + i * of_block,
                   values + i * of_block);
      }
#pragma omp barrier
      // the longest first; the queries of one group of heads together, as they share keys
      for (int item; (item = next.fetch_add(1)) < items * heads;) {
        const int head = item % group + item / (group * items) * group;
        const int begin = (items - 1 - item / group % items) * QUERIES;
        const size_t at = size_t(head / group) * of_head;
        attend_block(job, row, head, begin, first, {keys + at, values + at});
      }
    }
  }
}
