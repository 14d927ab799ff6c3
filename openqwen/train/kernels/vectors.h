// AVX-512 pieces shared by the kernels: 16 floats from bf16 or f32 and back, exp, lanes of a tail.
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#define UNROLL _Pragma("GCC unroll 16")

struct Bf16 {
  uint16_t bits;
};

static inline __mmask16 lanes(int64_t left) { return left >= 16 ? 0xFFFF : (1u << left) - 1; }

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
// rounds to nearest even, as torch does; denormals become 0
static inline void store16(Bf16* p, __m512 x, __mmask16 mask = 0xFFFF) {
  _mm256_mask_storeu_epi16(p, mask, (__m256i)_mm512_cvtneps_pbh(x));
}
// what a float is after a stay in bf16
static inline __m512 rounded(__m512 x) {
  const __m256i half = (__m256i)_mm512_cvtneps_pbh(x);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

// 2^x by 2^n · p(r), |r| <= 1/2; relative error below 3e-7, 0 far below, infinite far above
static inline __m512 exp2_16(__m512 x) {
  x = _mm512_max_ps(x, _mm512_set1_ps(-200.0f));  // -inf would meet itself in the subtraction
  const __m512 n = _mm512_roundscale_ps(x, 0);
  const __m512 r = _mm512_sub_ps(x, n);
  __m512 p = _mm512_set1_ps(1.5403530e-4f);  // ln(2)^k / k!
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3333558e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(9.6181291e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.5504109e-2f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.24022651f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.69314718f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, n);
}
constexpr float LOG2_E = 1.44269504f;
static inline __m512 exp16(__m512 x) { return exp2_16(_mm512_mul_ps(x, _mm512_set1_ps(LOG2_E))); }
