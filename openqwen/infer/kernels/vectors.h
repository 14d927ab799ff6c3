// AVX-512 pieces shared by the kernels: loads and stores of bf16 and f32 as f32, exp.
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstring>

enum Type : int { F32 = 0, BF16 = 1 };

struct Bf16 {
  uint16_t bits;
};

static inline float to_float(Bf16 x) {
  uint32_t wide = uint32_t(x.bits) << 16;
  float value;
  std::memcpy(&value, &wide, 4);
  return value;
}
static inline float to_float(float x) { return x; }

static inline __m512 load16(const float* p, __mmask16 mask = 0xFFFF) {
  return _mm512_maskz_loadu_ps(mask, p);
}
static inline __m512 load16(const Bf16* p, __mmask16 mask = 0xFFFF) {
  const __m256i half = _mm256_maskz_loadu_epi16(mask, p);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}
static inline void store16(float* p, __m512 x, __mmask16 mask = 0xFFFF) {
  _mm512_mask_storeu_ps(p, mask, x);
}
// rounds to nearest even, as torch does
static inline void store16(Bf16* p, __m512 x, __mmask16 mask = 0xFFFF) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded =
      _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
  _mm256_mask_storeu_epi16(p, mask, _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
}

// the sums of four vectors' lanes, each in the order of _mm512_reduce_add_ps
static inline __m128 sums_of(__m512 a, __m512 b, __m512 c, __m512 d) {
  const __m512 ab =
      _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
  const __m512 cd =
      _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
  __m512 four =
      _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
  four = _mm512_add_ps(four, _mm512_permute_ps(four, 0x4e));
  four = _mm512_add_ps(four, _mm512_permute_ps(four, 0xb1));
  const __m512i firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
  return _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, four));
}

// exp by 2^n · p(r), |r| <= ln2 / 2; relative error below 3e-7, 0 far below and large far above
static inline __m512 exp16(__m512 x) {
  x = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(-87.3f)), _mm512_set1_ps(88.3f));
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(1.0f / 5040);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 720));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, n);
}

// items [begin, end) of `count` that thread `index` of `threads` takes
struct Share {
  int begin, end;
  Share(int count, int index, int threads)
      : begin(int(int64_t(count) * index / threads)),
        end(int(int64_t(count) * (index + 1) / threads)) {}
};
