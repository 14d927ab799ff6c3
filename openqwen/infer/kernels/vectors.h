// Sixteen floats at a time, shared by the kernels: AVX-512's registers where the processor has them,
// else AVX2's in pairs. Both add and round in the same order.
#pragma once
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

#ifdef __AVX512F__
#include "vectors_avx512.h"
#else
#include "vectors_avx2.h"
#endif

// the first lanes, as many as are left
static inline Lanes lanes(int left) { return left >= 16 ? 0xFFFF : (1u << left) - 1; }

// exp by 2^n · p(r), |r| <= ln2 / 2; relative error below 3e-7, 0 far below and large far above
static inline Floats exp16(Floats x) {
  x = min16(max16(x, spread(-87.3f)), spread(88.3f));
  const Floats n = round16(x * spread(1.44269504f));
  Floats r = fnma16(n, spread(0.693359375f), x);
  r = fnma16(n, spread(-2.12194440e-4f), r);
  Floats p = spread(1.0f / 5040);
  p = fma16(p, r, spread(1.0f / 720));
  p = fma16(p, r, spread(1.0f / 120));
  p = fma16(p, r, spread(1.0f / 24));
  p = fma16(p, r, spread(1.0f / 6));
  p = fma16(p, r, spread(0.5f));
  p = fma16(p, r, spread(1.0f));
  p = fma16(p, r, spread(1.0f));
  return scale16(p, n);
}

// items [begin, end) of `count` that thread `index` of `threads` takes
struct Share {
  int begin, end;
  Share(int count, int index, int threads)
      : begin(int(int64_t(count) * index / threads)),
        end(int(int64_t(count) * (index + 1) / threads)) {}
};
