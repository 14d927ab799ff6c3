// One pass over parameters for what an optimiser step does to them, sums and moments in float32.
#include <cmath>

#include "vectors.h"

constexpr int64_t PIECE = 4096;  // elements whose squares are added in float32

namespace {

// sixteen elements of: sum, if any, plus the gradients in their order
template <typename T>
inline __m512 summed(const float* sum, const T* const* gradients, int number, int64_t i,
                     __mmask16 mask) {
  __m512 value = load16(gradients[0] + i, mask);
  if (sum) value = _mm512_add_ps(load16(sum + i, mask), value);
  for (int g = 1; g < number; g++) value = _mm512_add_ps(value, load16(gradients[g] + i, mask));
  return value;
}

template <typename T>
double fold(const T* const* gradients, int number, int64_t count, const float* sum, float* out) {
  double total = 0;
  for (int64_t begin = 0; begin < count; begin += PIECE) {
    const int64_t end = begin + PIECE < count ? begin + PIECE : count;
    __m512 squares = _mm512_setzero_ps();
    for (int64_t i = begin; i < end; i += 16) {
      const __mmask16 mask = lanes(end - i);
      const __m512 value = summed(sum, gradients, number, i, mask);
      if (out) store16(out + i, value, mask);
      squares = _mm512_fmadd_ps(value, value, squares);
    }
    total += _mm512_reduce_add_ps(squares);
  }
  return total;
}

struct Numbers {
  float shrink, beta1, beta2, eps, keep, size, root;
};

template <typename T>
void adamw(float* master, float* first, float* second, const T* const* gradients, int number,
           int64_t count, const float* sum, const Numbers& n, Bf16* copy) {
  const __m512 by = _mm512_set1_ps(n.shrink);
  const __m512 b1 = _mm512_set1_ps(n.beta1), b2 = _mm512_set1_ps(n.beta2);
  const __m512 c1 = _mm512_set1_ps(1 - n.beta1), c2 = _mm512_set1_ps(1 - n.beta2);
  for (int64_t i = 0; i < count; i += 16) {
    const __mmask16 mask = lanes(count - i);
    const __m512 g = _mm512_mul_ps(summed(sum, gradients, number, i, mask), by);
    const __m512 m = _mm512_fmadd_ps(load16(first + i, mask), b1, _mm512_mul_ps(g, c1));
    const __m512 v =
        _mm512_fmadd_ps(load16(second + i, mask), b2, _mm512_mul_ps(_mm512_mul_ps(g, g), c2));
    store16(first + i, m, mask);
    store16(second + i, v, mask);
    const __m512 below =
        _mm512_fmadd_ps(_mm512_sqrt_ps(v), _mm512_set1_ps(n.root), _mm512_set1_ps(n.eps));
    const __m512 step = _mm512_div_ps(_mm512_mul_ps(m, _mm512_set1_ps(n.size)), below);
    const __m512 next =
        _mm512_sub_ps(_mm512_mul_ps(load16(master + i, mask), _mm512_set1_ps(n.keep)), step);
    store16(master + i, next, mask);
    if (copy) store16(copy + i, next, mask);
  }
}

}  // namespace

// The sum of `sum` (if any) and the gradients in order, all bf16 or all float32, goes to `out`, if
// any, which may be `sum`; returns its sum of squares.
extern "C" double openqwen_fold(const void* const* gradients, int is_bf16, int number,
                                int64_t count, const float* sum, float* out) {
  return is_bf16 ? fold(reinterpret_cast<const Bf16* const*>(gradients), number, count, sum, out)
                 : fold(reinterpret_cast<const float* const*>(gradients), number, count, sum, out);
}

// AdamW with decoupled decay (Loshchilov & Hutter 2019) on the same sum; `copy` (bf16) takes the new
// master, if any. shrink scales the gradient; keep = 1 - rate · decay; size = rate / (1 - beta1^t),
// root = 1 / sqrt(1 - beta2^t)
extern "C" void openqwen_adamw(float* master, float* first, float* second,
                               const void* const* gradients, int is_bf16, int number, int64_t count,
                               const float* sum, float shrink, float beta1, float beta2, float eps,
                               float keep, float size, float root, Bf16* copy) {
  const Numbers n{shrink, beta1, beta2, eps, keep, size, root};
  if (is_bf16) {
    adamw(master, first, second, reinterpret_cast<const Bf16* const*>(gradients), number, count,
          sum, n, copy);
  } else {
    adamw(master, first, second, reinterpret_cast<const float* const*>(gradients), number, count,
          sum, n, copy);
  }
}
