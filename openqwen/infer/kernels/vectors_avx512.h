// Sixteen floats in one AVX-512 register. `vectors.h` says which of its twins is in use.
#pragma once
#include <immintrin.h>

using Floats = __m512;
using Wholes = __m512i;  // sixteen 32-bit integers
using Lanes = __mmask16;
constexpr int REGISTERS = 32;  // Floats that fit

static inline Floats zeros() { return _mm512_setzero_ps(); }
static inline Floats spread(float x) { return _mm512_set1_ps(x); }
static inline Floats fma16(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
static inline Floats fms16(Floats a, Floats b, Floats c) { return _mm512_fmsub_ps(a, b, c); }
static inline Floats fnma16(Floats a, Floats b, Floats c) { return _mm512_fnmadd_ps(a, b, c); }
static inline Floats max16(Floats a, Floats b) { return _mm512_max_ps(a, b); }
static inline Floats min16(Floats a, Floats b) { return _mm512_min_ps(a, b); }
static inline Floats abs16(Floats a) { return _mm512_abs_ps(a); }
static inline Floats round16(Floats a) { return _mm512_roundscale_ps(a, 0); }
// a · 2^n for whole n
static inline Floats scale16(Floats a, Floats n) { return _mm512_scalef_ps(a, n); }
static inline Floats keep(Lanes mask, Floats a) { return _mm512_maskz_mov_ps(mask, a); }
static inline float total(Floats a) { return _mm512_reduce_add_ps(a); }
static inline float largest(Floats a) { return _mm512_reduce_max_ps(a); }

static inline Floats load16(const float* p, Lanes mask = 0xFFFF) {
  return _mm512_maskz_loadu_ps(mask, p);
}
static inline Floats load16(const Bf16* p, Lanes mask = 0xFFFF) {
  const __m256i half = _mm256_maskz_loadu_epi16(mask, p);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}
static inline void store16(float* p, Floats x, Lanes mask = 0xFFFF) {
  _mm512_mask_storeu_ps(p, mask, x);
}
// rounds to nearest even, as torch does
static inline void store16(Bf16* p, Floats x, Lanes mask = 0xFFFF) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded =
      _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
  _mm256_mask_storeu_epi16(p, mask, _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
}

static inline Wholes no_wholes() { return _mm512_setzero_si512(); }
static inline int32_t total(Wholes a) { return _mm512_reduce_add_epi32(a); }
// rounds sixteen numbers within ±127 to int8, four to an int32, and adds them to `sum`
static inline void to_bytes(Floats x, int32_t* fours, Wholes& sum) {
  const __m512i whole = _mm512_cvtps_epi32(x);
  sum = _mm512_add_epi32(sum, whole);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(fours), _mm512_cvtsepi32_epi8(whole));
}

// the sums of four vectors' lanes, each in the order of `total`
static inline __m128 sums_of(Floats a, Floats b, Floats c, Floats d) {
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
