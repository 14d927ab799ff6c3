// Causal attention of whole sequences with a running softmax: scores never go to memory
// (FlashAttention, Dao et al. 2022). See attention.h for layouts.
#include "attention.h"

namespace {

struct Running {
  __m512 most[WIDE], sum[WIDE];
};

constexpr float NEVER = -1e30f;

// scores (64 keys, 64 queries) -> probabilities in pairs of keys; returns what to shrink the rest by
template <bool MASKED>
void soften(const float* scores, const Sight& sight, int first_key, float scale, Running& now,
            Bf16* probs, __m512 (&shrink)[WIDE]) {
  const __m512 by = _mm512_set1_ps(scale);
  UNROLL for (int v = 0; v < WIDE; v++) {
    __m512 most = _mm512_set1_ps(NEVER);
    for (int key = 0; key < BLOCK; key++) {
      const __mmask16 seen = MASKED ? sight.of(v, first_key + key) : 0xFFFF;
      most = _mm512_mask_max_ps(most, seen, most, _mm512_load_ps(scores + key * BLOCK + 16 * v));
    }
    most = _mm512_max_ps(now.most[v], _mm512_mul_ps(most, by));
    shrink[v] = exp2_short(_mm512_max_ps(_mm512_sub_ps(now.most[v], most), _mm512_set1_ps(-200)));
    now.most[v] = most;
    __m512 sum = _mm512_mul_ps(now.sum[v], shrink[v]);
    for (int key = 0; key < BLOCK; key += 2) {
      __m512 p[2];
      UNROLL for (int k = 0; k < 2; k++) {
        const __m512 s = _mm512_load_ps(scores + (key + k) * BLOCK + 16 * v);
        p[k] = exp2_short(_mm512_max_ps(_mm512_fmsub_ps(s, by, most), _mm512_set1_ps(-200)));
        if (MASKED) p[k] = _mm512_maskz_mov_ps(sight.of(v, first_key + key + k), p[k]);
        sum = _mm512_add_ps(sum, p[k]);
      }
      _mm512_storeu_si512(probs + (key / 2 * BLOCK + 16 * v) * 2, in_pairs(p[0], p[1]));
    }
    now.sum[v] = sum;
  }
}

struct Packed {
  const Bf16 *keys, *values;  // (T, E) rows and, block by block, (E, 64)
};

void attend_block(const Shape& shape, const Bf16* q, const int32_t* firsts, Packed packed,
                  int block, Bf16* y, float* log_sums) {
  const int E = shape.size, begin = block * BLOCK, count = std::min(BLOCK, shape.length - begin);
  alignas(64) Bf16 queries[BLOCK * 256], probs[BLOCK * BLOCK];
  alignas(64) float scores[BLOCK * BLOCK], out[256 * BLOCK];
  pack_transposed({q + begin * shape.width(), shape.width(), count, E}, queries);
  const Sight sight(firsts, begin, shape.length);
  Running now;
  std::fill_n(now.most, WIDE, _mm512_set1_ps(NEVER));
  std::fill_n(now.sum, WIDE, _mm512_setzero_ps());
  const int low = sight.lowest / BLOCK;
  for (int other = low; other <= block; other++) {
    const int key = other * BLOCK;
    product(BLOCK, BLOCK, E, packed.keys + int64_t(key) * E, E, queries, 2 * BLOCK, scores, BLOCK,
            false);
    __m512 shrink[WIDE];
    const float scale = shape.scale() * LOG2_E;
    if (other == block || sight.latest > key) {
      soften<true>(scores, sight, key, scale, now, probs, shrink);
    } else {
      soften<false>(scores, sight, key, scale, now, probs, shrink);
    }
    if (other > low) {
      for (int i = 0; i < E; i++) UNROLL for (int v = 0; v < WIDE; v++) {
        float* at = out + i * BLOCK + 16 * v;
        _mm512_store_ps(at, _mm512_mul_ps(_mm512_load_ps(at), shrink[v]));
      }
    }
    product(E, BLOCK, BLOCK, packed.values + int64_t(key) * E, BLOCK, probs, 2 * BLOCK, out, BLOCK,
            other > low);
  }
  __m512 by[WIDE];
  for (int v = 0; v < WIDE; v++) {
    by[v] = _mm512_div_ps(_mm512_set1_ps(1.0f), now.sum[v]);
    alignas(64) float most[16], sum[16];
    _mm512_store_ps(most, now.most[v]);
    _mm512_store_ps(sum, now.sum[v]);
    for (int i = 0; i < std::min(16, count - 16 * v); i++) {
      log_sums[begin + 16 * v + i] = most[i] + std::log2(sum[i]);
    }
  }
  const int64_t row = int64_t(shape.heads) * E;
  store_transposed(out, BLOCK, by, count, E, y + begin * row, row);
}

}  // namespace

// y (batch, length, heads, size); log_sums (batch, heads, length) in base 2, of scaled scores;
// firsts (batch, length): the first key that each query sees, or null for 0
extern "C" void openqwen_attend(const Bf16* qkv, const int32_t* firsts, int batch, int length,
                                int heads, int kv_heads, int size, Bf16* y, float* log_sums) {
  const Shape shape{batch, length, heads, kv_heads, size};
  const int group = heads / kv_heads, blocks = shape.blocks();
  static thread_local std::vector<Bf16> memory;
  const size_t whole = size_t(blocks) * BLOCK * size;
  if (memory.size() < 2 * whole + 32) memory.resize(2 * whole + 32);
  Bf16 *keys = aligned(memory.data()), *values = keys + whole;
  for (int row = 0; row < batch; row++) {
    const Bf16* of_row = qkv + row * length * shape.width();
    const int32_t* of_firsts = firsts ? firsts + int64_t(row) * length : nullptr;
    for (int kv = 0; kv < kv_heads; kv++) {
      const Bf16* k = of_row + int64_t(heads + kv) * size;
      const Bf16* v = k + int64_t(kv_heads) * size;
      for (int block = 0; block < blocks; block++) {
        const int64_t from = block * BLOCK * shape.width(), to = int64_t(block) * BLOCK * size;
        const int count = std::min(BLOCK, length - block * BLOCK);
        copy_rows({k + from, shape.width(), count, size}, keys + to);
        transpose({v + from, shape.width(), count, size}, values + to, BLOCK);
      }
      for (int head = kv * group; head < (kv + 1) * group; head++) {
        float* sums = log_sums + (int64_t(row) * heads + head) * length;
        Bf16* out = y + (int64_t(row) * length * heads + head) * size;
        for (int block = 0; block < blocks; block++) {
          attend_block(shape, of_row + int64_t(head) * size, of_firsts, {keys, values}, block, out,
                       sums);
        }
      }
    }
  }
}
