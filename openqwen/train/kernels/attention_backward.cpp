// Gradients of causal attention; probabilities are worked out again from the queries' log-sums
// (FlashAttention-2, Dao 2023). See attention.h for layouts.
#include "attention.h"

namespace {

// what the products need of one head's queries and of what comes back to them, block by block
struct Head {
  Bf16 *q_transposed, *q_pairs, *dy_transposed, *dy_pairs;
  float *dq;               // block by block (E, 64)
  float *log_sums, *dots;  // (T): of softmax; sum over elements of dy · y
};

struct Work {
  Shape shape;
  std::vector<Bf16> halves;
  std::vector<float> floats;
  Bf16 *keys, *values, *keys_transposed;  // rows (T, E) twice; block by block (E, 64)
  std::vector<Head> heads;                // of one group

  void reserve(const Shape& now) {
    shape = now;
    const size_t T = size_t(shape.blocks()) * BLOCK, whole = T * shape.size;
    const int group = shape.heads / shape.kv_heads;
    halves.resize(std::max(halves.size(), (3 + 4 * size_t(group)) * whole + 32));
    floats.resize(std::max(floats.size(), group * (whole + 2 * T) + 16));
    Bf16* half = aligned(halves.data());
    float* wide = aligned(floats.data());
    keys = half, values = half + whole, keys_transposed = half + 2 * whole, half += 3 * whole;
    heads.clear();
    for (int g = 0; g < group; g++, half += 4 * whole, wide += whole + 2 * T) {
      heads.push_back({half, half + whole, half + 2 * whole, half + 3 * whole, wide, wide + whole,
                       wide + whole + T});
    }
  }
};

// one head's queries, dy, and their dot products with y
void prepare(const Work& work, const Head& head, const Bf16* q, const Bf16* y, const Bf16* dy,
             const float* log_sums) {
  const Shape& shape = work.shape;
  const int E = shape.size, T = shape.blocks() * BLOCK;
  const int64_t row = int64_t(shape.heads) * E;
  for (int block = 0; block < shape.blocks(); block++) {
    const int begin = block * BLOCK, count = std::min(BLOCK, shape.length - begin);
    const Rows of_q{q + begin * shape.width(), shape.width(), count, E};
    const Rows of_dy{dy + begin * row, row, count, E};
    const int64_t at = int64_t(begin) * E;
    pack_transposed(of_q, head.q_transposed + at);
    pack_pairs(of_q, head.q_pairs + at);
    pack_transposed(of_dy, head.dy_transposed + at);
    pack_pairs(of_dy, head.dy_pairs + at);
  }
  for (int t = 0; t < T; t++) {
    __m512 sum = _mm512_setzero_ps();
    if (t < shape.length) {
      for (int i = 0; i < E; i += 16) {
        sum = _mm512_fmadd_ps(load16(dy + t * row + i), load16(y + t * row + i), sum);
      }
    }
    head.dots[t] = _mm512_reduce_add_ps(sum);
    head.log_sums[t] = t < shape.length ? log_sums[t] : 0.0f;  // sees no key at all
  }
  std::fill_n(head.dq, size_t(T) * E, 0.0f);
}

struct Tile {
  alignas(64) float scores[BLOCK * BLOCK], slopes[BLOCK * BLOCK];  // slopes of probabilities
  alignas(64) Bf16 probs[BLOCK * BLOCK], rows[BLOCK * BLOCK], pairs[BLOCK * BLOCK];
};

// scores and slopes -> probabilities; the scores' own gradient row by row and in pairs of keys
template <bool MASKED>
void turn(Tile& tile, const Sight& sight, int first_key, float scale, const float* log_sums,
          const float* dots) {
  const __m512 by = _mm512_set1_ps(scale * LOG2_E), plain = _mm512_set1_ps(scale);
  UNROLL for (int v = 0; v < WIDE; v++) {
    const __m512 log_sum = _mm512_loadu_ps(log_sums + 16 * v);
    const __m512 dot = _mm512_loadu_ps(dots + 16 * v);
    for (int key = 0; key < BLOCK; key += 2) {
      __m512 ds[2];
      UNROLL for (int k = 0; k < 2; k++) {
        const int at = (key + k) * BLOCK + 16 * v;
        const __m512 s = _mm512_fmsub_ps(_mm512_load_ps(tile.scores + at), by, log_sum);
        __m512 p = exp2_short(_mm512_max_ps(s, _mm512_set1_ps(-200)));
        if (MASKED) p = _mm512_maskz_mov_ps(sight.of(v, first_key + key + k), p);
        const __m512 slope = _mm512_sub_ps(_mm512_load_ps(tile.slopes + at), dot);
        ds[k] = _mm512_mul_ps(_mm512_mul_ps(p, plain), slope);
        store16(tile.probs + at, p);
        store16(tile.rows + at, ds[k]);
      }
      _mm512_store_si512(tile.pairs + (key / 2 * BLOCK + 16 * v) * 2, in_pairs(ds[0], ds[1]));
    }
  }
}

// everything one block of keys gets from, and gives to, the queries that see it
void one_block(const Work& work, const int32_t* firsts, int block, Bf16* dk, Bf16* dv) {
  const Shape& shape = work.shape;
  const int E = shape.size, key = block * BLOCK;
  const int64_t at_key = int64_t(key) * E;
  alignas(64) float dk_sum[BLOCK * 256], dv_sum[BLOCK * 256];  // on the stack: twice as fast as
  Tile tile;                                                   // thread_local in a shared library
  std::fill_n(dk_sum, BLOCK * E, 0.0f);
  std::fill_n(dv_sum, BLOCK * E, 0.0f);
  for (int other = block; other < shape.blocks(); other++) {
    const int query = other * BLOCK;
    const Sight sight(firsts, query, shape.length);
    if (sight.lowest >= key + BLOCK) continue;
    const int64_t at = int64_t(query) * E;
    for (const Head& head : work.heads) {
      product(BLOCK, BLOCK, E, work.keys + at_key, E, head.q_transposed + at, 2 * BLOCK,
              tile.scores, BLOCK, false);
      product(BLOCK, BLOCK, E, work.values + at_key, E, head.dy_transposed + at, 2 * BLOCK,
              tile.slopes, BLOCK, false);
      const float *log_sums = head.log_sums + query, *dots = head.dots + query;
      if (other == block || sight.latest > key || query + BLOCK > shape.length) {
        turn<true>(tile, sight, key, shape.scale(), log_sums, dots);
      } else {
        turn<false>(tile, sight, key, shape.scale(), log_sums, dots);
      }
      product(BLOCK, E, BLOCK, tile.probs, BLOCK, head.dy_pairs + at, 2 * E, dv_sum, E, true);
      product(BLOCK, E, BLOCK, tile.rows, BLOCK, head.q_pairs + at, 2 * E, dk_sum, E, true);
      product(E, BLOCK, BLOCK, work.keys_transposed + at_key, BLOCK, tile.pairs, 2 * BLOCK,
              head.dq + at, BLOCK, true);
    }
  }
  const int count = std::min(BLOCK, shape.length - key);
  store_rows(dk_sum, count, E, dk + key * shape.width(), shape.width());
  store_rows(dv_sum, count, E, dv + key * shape.width(), shape.width());
}

}  // namespace

// dqkv, of qkv's layout, is written whole; the other arguments are those of openqwen_attend
extern "C" void openqwen_attend_backward(const Bf16* qkv, const Bf16* y, const float* log_sums,
                                         const Bf16* dy, const int32_t* firsts, int batch,
                                         int length, int heads, int kv_heads, int size,
                                         Bf16* dqkv) {
  const Shape shape{batch, length, heads, kv_heads, size};
  static thread_local Work work;
  work.reserve(shape);
  const int group = heads / kv_heads, blocks = shape.blocks();
  const int64_t width = shape.width();
  const __m512 ones[WIDE] = {_mm512_set1_ps(1), _mm512_set1_ps(1), _mm512_set1_ps(1),
                             _mm512_set1_ps(1)};
  for (int row = 0; row < batch; row++) {
    const int32_t* of_firsts = firsts ? firsts + int64_t(row) * length : nullptr;
    for (int kv = 0; kv < kv_heads; kv++) {
      const int64_t at_row = row * length * width;
      const int64_t at_k = at_row + int64_t(heads + kv) * size;
      const int64_t at_v = at_k + int64_t(kv_heads) * size;
      for (int block = 0; block < blocks; block++) {
        const int64_t from = block * BLOCK * width, to = int64_t(block) * BLOCK * size;
        const int count = std::min(BLOCK, length - block * BLOCK);
        copy_rows({qkv + at_k + from, width, count, size}, work.keys + to);
        copy_rows({qkv + at_v + from, width, count, size}, work.values + to);
        transpose({qkv + at_k + from, width, count, size}, work.keys_transposed + to, BLOCK);
      }
      for (int g = 0; g < group; g++) {
        const int head = kv * group + g;
        const int64_t at = (int64_t(row) * length * heads + head) * size;
        prepare(work, work.heads[g], qkv + at_row + int64_t(head) * size, y + at, dy + at,
                log_sums + (int64_t(row) * heads + head) * length);
      }
      for (int block = 0; block < blocks; block++) {
        one_block(work, of_firsts, block, dqkv + at_k, dqkv + at_v);
      }
      for (int g = 0; g < group; g++) {
        Bf16* dq = dqkv + at_row + int64_t(kv * group + g) * size;
        for (int block = 0; block < blocks; block++) {
          const int begin = block * BLOCK;
          store_transposed(work.heads[g].dq + int64_t(begin) * size, BLOCK, ones,
                           std::min(BLOCK, length - begin), size, dq + begin * width, width);
        }
      }
    }
  }
}
