// One pass over parameters for what an optimiser step does to them, sums and moments in float32.
#include <cmath>

#include "vectors.h"

namespace {

template <typename T>
void add(const T* gradient, int64_t count, float* sum, bool first) {
  for (int64_t i = 0; i < count; i += 16) {
    const __mmask16 mask = lanes(count - i);
    const __m512 value = load16(gradient + i, mask);
    store16(sum + i, first ? value : _mm512_add_ps(load16(sum + i, mask), value), mask);
  }
}

}  // namespace

// sum = or += gradient, which is bf16 or float32
extern "C" void openqwen_accumulate(const void* gradient, int is_bf16, int64_t count, float* sum,
                                    int first) {
  if (is_bf16) {
    add(static_cast<const Bf16*>(gradient), count, sum, first);
  } else {
    add(static_cast<const float*>(gradient), count, sum, first);
  }
}

// the sum of squares, by blocks whose sums are added in double
extern "C" double openqwen_square_sum(const float* x, int64_t count) {
  double total = 0;
  for (int64_t begin = 0; begin < count; begin += 4096) {
    const int64_t end = begin + 4096 < count ? begin + 4096 : count;
    __m512 sums[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                      _mm512_setzero_ps()};
    for (int64_t i = begin; i < end; i += 64) {
      UNROLL for (int v = 0; v < 4; v++) {
        const int64_t left = end - i - 16 * v;
        const __m512 value = load16(x + i + 16 * v, left > 0 ? lanes(left) : 0);
        sums[v] = _mm512_fmadd_ps(value, value, sums[v]);
      }
    }
    total += _mm512_reduce_add_ps(
        _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])));
  }
  return total;
}

// AdamW with decoupled decay (Loshchilov & Hutter 2019); `copy` (bf16) takes the new master, if any.
// shrink scales the gradient; keep = 1 - rate · decay; size = rate / (1 - beta1^t),
// root = 1 / sqrt(1 - beta2^t)
extern "C" void openqwen_adamw(float* master, float* first, float* second, const float* gradient,
                               int64_t count, float shrink, float beta1, float beta2, float eps,
                               float keep, float size, float root, Bf16* copy) {
  const __m512 by = _mm512_set1_ps(shrink), b1 = _mm512_set1_ps(beta1), b2 = _mm512_set1_ps(beta2);
  const __m512 c1 = _mm512_set1_ps(1 - beta1), c2 = _mm512_set1_ps(1 - beta2);
  for (int64_t i = 0; i < count; i += 16) {
    const __mmask16 mask = lanes(count - i);
    const __m512 g = _mm512_mul_ps(load16(gradient + i, mask), by);
    const __m512 m = _mm512_fmadd_ps(load16(first + i, mask), b1, _mm512_mul_ps(g, c1));
    const __m512 v =
        _mm512_fmadd_ps(load16(second + i, mask), b2, _mm512_mul_ps(_mm512_mul_ps(g, g), c2));
    store16(first + i, m, mask);
    store16(second + i, v, mask);
    const __m512 below =
        _mm512_fmadd_ps(_mm512_sqrt_ps(v), _mm512_set1_ps(root), _mm512_set1_ps(eps));
    const __m512 step = _mm512_div_ps(_mm512_mul_ps(m, _mm512_set1_ps(size)), below);
    const __m512 next =
        _mm512_sub_ps(_mm512_mul_ps(load16(master + i, mask), _mm512_set1_ps(keep)), step);
    store16(master + i, next, mask);
    if (copy) store16(copy + i, next, mask);
  }
}
