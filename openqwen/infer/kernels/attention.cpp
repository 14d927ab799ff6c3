// One token a row: rotate, store key and value, attend to what the window shows. And rotation
// alone, for many tokens. Keys and values stand in blocks: (blocks, K heads, tokens, E).
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "layers.h"

#define UNROLL _Pragma("GCC unroll 16")

namespace {

// y = x rotated, elements i and i + E/2 paired, times `scale`; all f32 inside
template <typename T, typename Out>
void rotate(const T* x, const float* cos, const float* sin, float scale, Out* y, int size) {
  const int half = size / 2;
  const Floats by = spread(scale);
  for (int i = 0; i < half; i += 16) {
    const Lanes mask = lanes(half - i);
    const Floats a = load16(x + i, mask), b = load16(x + half + i, mask);
    const Floats c = load16(cos + i, mask), s = load16(sin + i, mask);
    const Floats first = fms16(a, c, b * s);
    const Floats second = fma16(b, c, a * s);
    store16(y + i, first * by, mask);
    store16(y + half + i, second * by, mask);
  }
}

template <typename T>
struct Blocks {
  T *keys, *values;
  const int32_t* table;  // of this sequence
  int block, kv_heads, size;

  T* at(T* store, int slot, int head) const {
    return store +
           ((size_t(table[slot / block]) * kv_heads + head) * block + slot % block) * size;
  }
};

// calls act(slot, row, count) for slots that stand side by side, block by block; asks for the next
template <typename T, typename Act>
void each_run(const Blocks<T>& blocks, T* store, int head, int low, int high, Act act) {
  const int line = 64 / sizeof(T);
  for (int slot = low; slot < high;) {
    const int count = std::min(high - slot, blocks.block - slot % blocks.block);
    const int after = std::min(high - slot - count, blocks.block);
    if (after > 0) {
      const T* next = blocks.at(store, slot + count, head);
      for (int i = 0; i < after * blocks.size; i += line) {
        _mm_prefetch(reinterpret_cast<const char*>(next + i), _MM_HINT_T0);
      }
    }
    act(slot, blocks.at(store, slot, head), count);
    slot += count;
  }
}

// scores of `group` queries (group, E) with four keys, or with one
template <int V, typename T>
void score(const float* q, int group, const T* keys, int count, int stride, float* scores) {
  constexpr int size = 16 * V;
  for (; count >= 4; count -= 4, keys += 4 * size, scores += 4) {
    Floats k[4][V];
    UNROLL for (int i = 0; i < 4; i++)
        UNROLL for (int v = 0; v < V; v++) k[i][v] = load16(keys + i * size + 16 * v);
    for (int g = 0; g < group; g++) {
      Floats sums[4];
      UNROLL for (int i = 0; i < 4; i++) sums[i] = zeros();
      UNROLL for (int v = 0; v < V; v++) {
        const Floats part = load16(q + g * size + 16 * v);
        UNROLL for (int i = 0; i < 4; i++) sums[i] = fma16(part, k[i][v], sums[i]);
      }
      _mm_storeu_ps(scores + size_t(g) * stride, sums_of(sums[0], sums[1], sums[2], sums[3]));
    }
  }
  for (; count > 0; count--, keys += size, scores++) {
    Floats k[V];
    UNROLL for (int v = 0; v < V; v++) k[v] = load16(keys + 16 * v);
    for (int g = 0; g < group; g++) {
      Floats sum = zeros();
      UNROLL for (int v = 0; v < V; v++) {
        sum = fma16(load16(q + g * size + 16 * v), k[v], sum);
      }
      scores[size_t(g) * stride] = total(sum);
    }
  }
}

// scores -> exponentials under the largest; returns what they add up to
inline float soften(float* row, int count, int stride) {
  for (int i = count; i < stride; i++) row[i] = -1e30f;
  Floats most = spread(-1e30f), sum = zeros();
  for (int i = 0; i < stride; i += 16) most = max16(most, load16(row + i));
  const Floats top = spread(largest(most));
  for (int i = 0; i < stride; i += 16) {
    const Floats p = exp16(load16(row + i) - top);
    store16(row + i, p);
    sum = sum + keep(lanes(count - i), p);
  }
  return total(sum);
}

// values of slots [low, high) by the weights of G queries
template <int G, int V, typename T>
void gather(const Blocks<T>& blocks, int head, int low, int high, const float* weights, int stride,
            const float* totals, T* y) {
  constexpr int size = 16 * V, MOST = REGISTERS / 8, COLUMNS = V < MOST ? V : MOST;  // of each query at a time
  for (int first = 0; first < V; first += COLUMNS) {
    const int here = std::min(COLUMNS, V - first);
    Floats sums[G][COLUMNS];
    UNROLL for (int g = 0; g < G; g++)
        UNROLL for (int c = 0; c < COLUMNS; c++) sums[g][c] = zeros();
    each_run(blocks, blocks.values, head, low, high,
             [&](int slot, const T* values, int count) {
      for (int i = 0; i < count; i++, values += size) {
        const float* p = weights + slot + i - low;
        UNROLL for (int c = 0; c < COLUMNS; c++) {
          if (c >= here) break;
          const Floats value = load16(values + 16 * (first + c));
          UNROLL for (int g = 0; g < G; g++) {
            sums[g][c] = fma16(spread(p[size_t(g) * stride]), value, sums[g][c]);
          }
        }
      }
    });
    UNROLL for (int g = 0; g < G; g++) {
      const Floats inverse = spread(1.0f / totals[g]);
      UNROLL for (int c = 0; c < COLUMNS; c++) {
        if (c >= here) break;
        store16(y + g * size + 16 * (first + c), sums[g][c] * inverse);
      }
    }
  }
}

// `group` queries (group, E) of one key head over slots [low, high); V vectors a head
template <int V, typename T>
void attend(const float* q, const Blocks<T>& blocks, int head, int group, int low, int high,
            T* y, std::vector<float>& scores) {
  const int count = high - low, stride = (count + 15) / 16 * 16, size = blocks.size;
  scores.resize(size_t(group) * (stride + 1));
  float *rows = scores.data(), *totals = rows + size_t(group) * stride;
  each_run(blocks, blocks.keys, head, low, high,
           [&](int slot, const T* keys, int length) {
    score<V>(q, group, keys, length, stride, rows + slot - low);
  });
  for (int g = 0; g < group; g++) totals[g] = soften(rows + size_t(g) * stride, count, stride);
  int g = 0;
  for (; REGISTERS >= 32 && g + 4 <= group; g += 4) {
    gather<4, V>(blocks, head, low, high, rows + size_t(g) * stride, stride, totals + g,
                 y + g * size);
  }
  for (; g + 2 <= group; g += 2) {
    gather<2, V>(blocks, head, low, high, rows + size_t(g) * stride, stride, totals + g,
                 y + g * size);
  }
  for (; g < group; g++) {
    gather<1, V>(blocks, head, low, high, rows + size_t(g) * stride, stride, totals + g,
                 y + g * size);
  }
}

template <typename T>
void attend_any(int vectors, const float* q, const Blocks<T>& b, int head, int group, int low,
                int high, T* y, std::vector<float>& scores) {
  switch (vectors) {
    case 1: return attend<1>(q, b, head, group, low, high, y, scores);
    case 2: return attend<2>(q, b, head, group, low, high, y, scores);
    case 4: return attend<4>(q, b, head, group, low, high, y, scores);
    case 5: return attend<5>(q, b, head, group, low, high, y, scores);
    case 6: return attend<6>(q, b, head, group, low, high, y, scores);
    case 8: return attend<8>(q, b, head, group, low, high, y, scores);
    case 16: return attend<16>(q, b, head, group, low, high, y, scores);
  }
}

template <typename T>
void decode(const T* qkv, Heads shape, const Tables& tables, int batch, const Places& places, T* y,
            int index, int team) {
  const int group = shape.heads / shape.kv_heads, size = shape.size;
  const float softmax_scale = 1.0f / std::sqrt(float(size));
  const size_t width = size_t(shape.heads + 2 * shape.kv_heads) * size;
  static thread_local std::vector<float> scores, q;
  q.resize(size_t(group) * size);
  const Share share(batch * shape.kv_heads, index, team);
  const auto blocks_of = [&](int row) {
    return Blocks<T>{static_cast<T*>(places.keys), static_cast<T*>(places.values),
                     places.table + size_t(row) * places.table_stride, places.block,
                     shape.kv_heads, size};
  };
  for (int item = share.begin; item < share.end; item++) {
    const int row = item / shape.kv_heads, head = item % shape.kv_heads, slot = places.next[row];
    const T* x = qkv + row * width;
    const Blocks<T> blocks = blocks_of(row);
    rotate(x + size_t(shape.heads + head) * size, tables.cos + size_t(row) * tables.stride,
           tables.sin + size_t(row) * tables.stride, 1.0f, blocks.at(blocks.keys, slot, head),
           size);
    std::memcpy(blocks.at(blocks.values, slot, head),
                x + size_t(shape.heads + shape.kv_heads + head) * size, size * sizeof(T));
  }
  if (batch > 1) {  // rows may be tokens of one sequence, and see each other
#pragma omp barrier
  }
  for (int item = share.begin; item < share.end; item++) {
    const int row = item / shape.kv_heads, head = item % shape.kv_heads;
    const T* x = qkv + row * width;
    const float* cos = tables.cos + size_t(row) * tables.stride;
    const float* sin = tables.sin + size_t(row) * tables.stride;
    const float logn = tables.logn ? tables.logn[row * tables.logn_stride] : 1.0f;
    for (int g = 0; g < group; g++) {
      rotate(x + size_t(head * group + g) * size, cos, sin, logn * softmax_scale, &q[g * size],
             size);
    }
    attend_any(size / 16, q.data(), blocks_of(row), head, group, places.low[row],
               places.next[row] + 1, y + (size_t(row) * shape.heads + head * group) * size,
               scores);
  }
}

template <typename T>
void rotate_all(const T* qkv, Heads shape, const float* cos, const float* sin, const float* logn,
                int batch, int length, int tables_stride, int logn_stride, T* q, T* k,
                int threads) {
  const int heads = shape.heads + shape.kv_heads, size = shape.size;
  const size_t width = size_t(heads + shape.kv_heads) * size;
#pragma omp parallel num_threads(threads)
  {
    const Share share(batch * length, omp_get_thread_num(), omp_get_num_threads());
    for (int item = share.begin; item < share.end; item++) {
      const int row = item / length, t = item % length;
      const size_t table = (size_t(row) * tables_stride + t) * (size / 2);
      const float scale = logn ? logn[size_t(row) * logn_stride + t] : 1.0f;
      for (int head = 0; head < heads; head++) {
        const bool query = head < shape.heads;
        const size_t of = query ? size_t(row) * shape.heads + head
                                : size_t(row) * shape.kv_heads + head - shape.heads;
        rotate(qkv + item * width + size_t(head) * size, cos + table, sin + table,
               query ? scale : 1.0f, (query ? q : k) + (of * length + t) * size, size);
      }
    }
  }
}

}  // namespace

// qkv (batch, (heads + 2 kv_heads) E), y (batch, heads E); E must be 16, 32, 64, 80, 96, 128 or 256
void attend_part(const void* qkv, int type, Heads heads, const Tables& tables, int batch,
                 const Places& places, void* y, int index, int team) {
  if (type == BF16) {
    decode(static_cast<const Bf16*>(qkv), heads, tables, batch, places, static_cast<Bf16*>(y),
           index, team);
  } else {
    decode(static_cast<const float*>(qkv), heads, tables, batch, places, static_cast<float*>(y),
           index, team);
  }
}

// qkv (batch, length, (heads + 2 kv_heads) E) -> q (batch, heads, length, E), k (batch, kv_heads,
// length, E); cos and sin (batch or 1, length, E/2), logn (batch or 1, length) or null
extern "C" void openqwen_rotate(const void* qkv, int type, int heads, int kv_heads, int size,
                                const float* cos, const float* sin, int tables_stride,
                                const float* logn, int logn_stride, int batch, int length, void* q,
                                void* k, int threads) {
  const Heads shape{heads, kv_heads, size};
  if (type == BF16) {
    rotate_all(static_cast<const Bf16*>(qkv), shape, cos, sin, logn, batch, length, tables_stride,
               logn_stride, static_cast<Bf16*>(q), static_cast<Bf16*>(k), threads);
  } else {
    rotate_all(static_cast<const float*>(qkv), shape, cos, sin, logn, batch, length, tables_stride,
               logn_stride, static_cast<float*>(q), static_cast<float*>(k), threads);
  }
}
