// Pieces of causal attention, forward and backward. Blocks of 64 queries and 64 keys; scores stand
// transposed, (keys, queries), so that what belongs to a query (maximum, sum, first key) is a vector
// of 16 queries. All matrix products are bf16 pairs summed in float32:
//   C (M, N) = A (M, K) row by row · B "in pairs", [K/2][N][2], what one instruction multiplies.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "vectors.h"

constexpr int BLOCK = 64, WIDE = BLOCK / 16;  // queries or keys of a block; vectors of it

// Where things are. qkv: (batch, length, heads + 2 kv_heads, size), rotated.
struct Shape {
  int batch, length, heads, kv_heads, size;
  int64_t width() const { return int64_t(heads + 2 * kv_heads) * size; }
  int blocks() const { return (length + BLOCK - 1) / BLOCK; }
  float scale() const { return 1.0f / std::sqrt(float(size)); }
};

// the next place that begins a cache line
template <typename T>
inline T* aligned(T* p) {
  return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(p) + 63) & ~uintptr_t(63));
}

// in assembly: gcc 12 moves the intrinsic's sums to memory and back
inline void multiply_add(__m512& sum, __m512i pairs, const Bf16* spread) {
  asm("vdpbf16ps %2%{1to16%}, %1, %0"
      : "+v"(sum)
      : "v"(pairs), "m"(*reinterpret_cast<const int32_t*>(spread)));
}

template <int ROWS, int COLS>
inline void product_tile(const Bf16* a, int64_t a_row, const Bf16* b, int64_t b_row, float* c,
                         int64_t c_row, int pairs, bool add) {
  __m512 sums[ROWS][COLS];
  UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int v = 0; v < COLS; v++) {
    sums[r][v] = add ? _mm512_loadu_ps(c + r * c_row + 16 * v) : _mm512_setzero_ps();
  }
  for (int p = 0; p < pairs; p++, a += 2, b += b_row) {
    __m512i right[COLS];
    UNROLL for (int v = 0; v < COLS; v++) right[v] = _mm512_loadu_si512(b + 32 * v);
    UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int v = 0; v < COLS; v++) {
      multiply_add(sums[r][v], right[v], a + r * a_row);
    }
  }
  UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int v = 0; v < COLS; v++) {
    _mm512_storeu_ps(c + r * c_row + 16 * v, sums[r][v]);
  }
}

// rows a multiple of 8, columns of 32
inline void product(int rows, int columns, int inner, const Bf16* a, int64_t a_row, const Bf16* b,
                    int64_t b_row, float* c, int64_t c_row, bool add) {
  for (int column = 0; column < columns; column += 32) {
    for (int row = 0; row < rows; row += 8) {
      product_tile<8, 2>(a + row * a_row, a_row, b + 2 * column, b_row, c + row * c_row + column,
                         c_row, inner / 2, add);
    }
  }
}

inline void transpose16(__m512i (&r)[16]) {
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
  UNROLL for (int j = 0; j < 4; j++) {
    const __m512i a = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88);
    const __m512i b = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
    const __m512i c = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
    const __m512i d = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
    t[j] = _mm512_shuffle_i32x4(a, b, 0x88);
    t[8 + j] = _mm512_shuffle_i32x4(a, b, 0xdd);
    t[4 + j] = _mm512_shuffle_i32x4(c, d, 0x88);
    t[12 + j] = _mm512_shuffle_i32x4(c, d, 0xdd);
  }
  UNROLL for (int i = 0; i < 16; i++) r[i] = t[i];
}

// Read one block: `count` rows of `size` elements, `stride` apart; rows beyond are zeros.
struct Rows {
  const Bf16* at;
  int64_t stride;
  int count, size;

  // 16 rows from `row` on, 32 elements from `column` on, transposed pair by pair
  void pairs(int row, int column, __m512i (&r)[16]) const {
    UNROLL for (int i = 0; i < 16; i++) {
      r[i] = row + i < count ? _mm512_loadu_si512(at + (row + i) * stride + column)
                             : _mm512_setzero_si512();
    }
    transpose16(r);
  }
};

// B of a product with (rows)ᵀ: [size/2][64][2]
inline void pack_transposed(const Rows& rows, Bf16* to) {
  for (int row = 0; row < BLOCK; row += 16) {
    for (int column = 0; column < rows.size; column += 32) {
      __m512i r[16];
      rows.pairs(row, column, r);
      UNROLL for (int i = 0; i < 16; i++) {
        _mm512_storeu_si512(to + (int64_t(column / 2 + i) * BLOCK + row) * 2, r[i]);
      }
    }
  }
}

// (rows)ᵀ itself, (size, 64), `to_stride` apart
inline void transpose(const Rows& rows, Bf16* to, int64_t to_stride) {
  for (int row = 0; row < BLOCK; row += 16) {
    for (int column = 0; column < rows.size; column += 32) {
      __m512i r[16];
      rows.pairs(row, column, r);
      UNROLL for (int i = 0; i < 16; i++) {
        Bf16* even = to + (column + 2 * i) * to_stride + row;
        _mm256_storeu_si256((__m256i*)even, _mm512_cvtepi32_epi16(r[i]));
        _mm256_storeu_si256((__m256i*)(even + to_stride),
                            _mm512_cvtepi32_epi16(_mm512_srli_epi32(r[i], 16)));
      }
    }
  }
}

// B of a product with the rows: [32][size][2]
inline void pack_pairs(const Rows& rows, Bf16* to) {
  const __m256i none = _mm256_setzero_si256();
  for (int row = 0; row < BLOCK; row += 2) {
    const Bf16* first = rows.at + row * rows.stride;
    for (int i = 0; i < rows.size; i += 16, to += 32) {
      const __m256i a = row < rows.count ? _mm256_loadu_si256((const __m256i*)(first + i)) : none;
      const __m256i b = row + 1 < rows.count
                            ? _mm256_loadu_si256((const __m256i*)(first + rows.stride + i))
                            : none;
      _mm512_storeu_si512(to, _mm512_or_si512(_mm512_cvtepu16_epi32(a),
                                              _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16)));
    }
  }
}

// the rows as they are, (64, size), zeros behind them
inline void copy_rows(const Rows& rows, Bf16* to) {
  for (int row = 0; row < BLOCK; row++, to += rows.size) {
    if (row < rows.count) {
      std::memcpy(to, rows.at + row * rows.stride, rows.size * sizeof(Bf16));
    } else {
      std::memset(to, 0, rows.size * sizeof(Bf16));
    }
  }
}

// f32 rows, (64, size), to bf16 rows `stride` apart
inline void store_rows(const float* from, int count, int size, Bf16* to, int64_t stride) {
  for (int row = 0; row < count; row++) {
    for (int i = 0; i < size; i += 16) {
      store16(to + row * stride + i, _mm512_loadu_ps(from + row * size + i));
    }
  }
}

// f32 columns, (size, 64) `from_stride` apart, times `by` of each, to bf16 rows `stride` apart
inline void store_transposed(const float* from, int64_t from_stride, const __m512* by, int count,
                             int size, Bf16* to, int64_t stride) {
  for (int row = 0; row < count; row += 16) {
    for (int i = 0; i < size; i += 16) {
      __m512i r[16];
      UNROLL for (int j = 0; j < 16; j++) {
        const __m512 value = _mm512_loadu_ps(from + (i + j) * from_stride + row);
        r[j] = _mm512_castps_si512(_mm512_mul_ps(value, by[row / 16]));
      }
      transpose16(r);
      UNROLL for (int j = 0; j < 16; j++) {
        if (row + j < count) store16(to + (row + j) * stride + i, _mm512_castsi512_ps(r[j]));
      }
    }
  }
}

// two rows of 16 floats as bf16 in pairs, element by element
inline __m512i in_pairs(__m512 even, __m512 odd) {
  const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(even));
  const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(odd));
  return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

// 2^x to 3e-6, more than bf16 keeps; x at most about 0
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

// which keys the queries of one block see
struct Sight {
  __m512i place[WIDE], first[WIDE];
  int lowest = 0;  // first key that any of them sees
  int latest = 0;  // first key from which on all of them see

  Sight(const int32_t* firsts, int begin, int length) {
    lowest = firsts ? length : 0;
    for (int v = 0; v < WIDE; v++) {
      const int at = begin + 16 * v;
      const __mmask16 mask = lanes(std::max(0, length - at));
      const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
      place[v] = _mm512_mask_add_epi32(_mm512_set1_epi32(-1), mask, lane, _mm512_set1_epi32(at));
      first[v] = firsts ? _mm512_maskz_loadu_epi32(mask, firsts + at) : _mm512_setzero_si512();
      if (firsts && mask) {
        lowest = std::min(lowest, _mm512_mask_reduce_min_epi32(mask, first[v]));
        latest = std::max(latest, _mm512_mask_reduce_max_epi32(mask, first[v]));
      }
    }
  }
  __mmask16 of(int v, int key) const {
    const __m512i at = _mm512_set1_epi32(key);
    return _mm512_cmple_epi32_mask(at, place[v]) & _mm512_cmple_epi32_mask(first[v], at);
  }
};
