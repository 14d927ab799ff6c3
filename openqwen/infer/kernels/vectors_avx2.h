// Sixteen floats in two AVX2 registers: the operations of vectors_avx512.h, sums in the same order.
#pragma once
#include <immintrin.h>

struct Floats {
  __m256 low, high;
};
struct Wholes {  // sixteen 32-bit integers
  __m256i low, high;
};
using Lanes = uint16_t;
constexpr int REGISTERS = 16;  // each half a Floats

static inline Floats spread(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
static inline Floats zeros() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
static inline Floats operator+(Floats a, Floats b) {
  return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
static inline Floats operator-(Floats a, Floats b) {
  return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}
static inline Floats operator*(Floats a, Floats b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
static inline Floats operator/(Floats a, Floats b) {
  return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}
static inline Floats fma16(Floats a, Floats b, Floats c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
static inline Floats fms16(Floats a, Floats b, Floats c) {
  return {_mm256_fmsub_ps(a.low, b.low, c.low), _mm256_fmsub_ps(a.high, b.high, c.high)};
}
static inline Floats fnma16(Floats a, Floats b, Floats c) {
  return {_mm256_fnmadd_ps(a.low, b.low, c.low), _mm256_fnmadd_ps(a.high, b.high, c.high)};
}
static inline Floats max16(Floats a, Floats b) {
  return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}
static inline Floats min16(Floats a, Floats b) {
  return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
}
static inline Floats abs16(Floats a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, a.low), _mm256_andnot_ps(sign, a.high)};
}
static inline Floats round16(Floats a) {
  constexpr int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(a.low, nearest), _mm256_round_ps(a.high, nearest)};
}
// x · 2^n for whole n between -126 and 127
static inline __m256 scale8(__m256 x, __m256 n) {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}
static inline Floats scale16(Floats a, Floats n) {
  return {scale8(a.low, n.low), scale8(a.high, n.high)};
}

// all bits of lane i are bit i of the mask
static inline __m256i spread_bits(int mask) {
  const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(mask), bits), bits);
}
static inline Floats keep(Lanes mask, Floats a) {
  return {_mm256_and_ps(_mm256_castsi256_ps(spread_bits(mask & 255)), a.low),
          _mm256_and_ps(_mm256_castsi256_ps(spread_bits(mask >> 8)), a.high)};
}

static inline float total(__m256 x) {
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
static inline float total(Floats a) { return total(_mm256_add_ps(a.low, a.high)); }
static inline float largest(Floats a) {
  const __m256 x = _mm256_max_ps(a.low, a.high);
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}

static inline Floats load16(const float* p, Lanes mask = 0xFFFF) {
  if (mask == 0xFFFF) return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
  return {_mm256_maskload_ps(p, spread_bits(mask & 255)),
          _mm256_maskload_ps(p + 8, spread_bits(mask >> 8))};
}
static inline __m256 widened(__m128i halves) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}
static inline Floats load16(const Bf16* p, Lanes mask = 0xFFFF) {
  Bf16 some[16] = {};
  if (mask != 0xFFFF) {
    for (int i = 0; i < 16; i++)
      if (mask >> i & 1) some[i] = p[i];
    p = some;
  }
  const __m128i* at = reinterpret_cast<const __m128i*>(p);
  return {widened(_mm_loadu_si128(at)), widened(_mm_loadu_si128(at + 1))};
}
static inline void store16(float* p, Floats x, Lanes mask = 0xFFFF) {
  if (mask == 0xFFFF) {
    _mm256_storeu_ps(p, x.low);
    _mm256_storeu_ps(p + 8, x.high);
    return;
  }
  _mm256_maskstore_ps(p, spread_bits(mask & 255), x.low);
  _mm256_maskstore_ps(p + 8, spread_bits(mask >> 8), x.high);
}
static inline __m256i upper_halves(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  return _mm256_srli_epi32(
      _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF))), 16);
}
// rounds to nearest even, as torch does
static inline void store16(Bf16* p, Floats x, Lanes mask = 0xFFFF) {
  const __m256i mixed = _mm256_packus_epi32(upper_halves(x.low), upper_halves(x.high));
  const __m256i sixteen = _mm256_permute4x64_epi64(mixed, 0xD8);
  if (mask == 0xFFFF) return _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), sixteen);
  Bf16 all[16];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(all), sixteen);
  for (int i = 0; i < 16; i++)
    if (mask >> i & 1) p[i] = all[i];
}

static inline Wholes no_wholes() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
static inline int32_t total(Wholes a) {
  const __m256i x = _mm256_add_epi32(a.low, a.high);
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
  return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xB1)));
}
// rounds sixteen numbers within ±127 to int8, four to an int32, and adds them to `sum`
static inline void to_bytes(Floats x, int32_t* fours, Wholes& sum) {
  const __m256i low = _mm256_cvtps_epi32(x.low), high = _mm256_cvtps_epi32(x.high);
  sum.low = _mm256_add_epi32(sum.low, low);
  sum.high = _mm256_add_epi32(sum.high, high);
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xD8);
  _mm_storeu_si128(
      reinterpret_cast<__m128i*>(fours),
      _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}

// the sums of four vectors' lanes, each in the order of `total`
static inline __m128 sums_of(Floats a, Floats b, Floats c, Floats d) {
  return _mm_setr_ps(total(a), total(b), total(c), total(d));
}
