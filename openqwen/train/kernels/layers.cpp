// What stands between a layer's matrix products, forward and backward, row by row in float32.
#include <cmath>

#include "vectors.h"

namespace {

// the reciprocal root mean square of a row
inline float row_scale(const Bf16* x, int width, float eps) {
  __m512 squares = _mm512_setzero_ps();
  for (int i = 0; i < width; i += 16) {
    const __m512 value = load16(x + i, lanes(width - i));
    squares = _mm512_fmadd_ps(value, value, squares);
  }
  return 1.0f / std::sqrt(_mm512_reduce_add_ps(squares) / width + eps);
}

inline __m512 sigmoid(__m512 x) {
  const __m512 one = _mm512_set1_ps(1.0f);
  const __m512 power = _mm512_mul_ps(x, _mm512_set1_ps(-LOG2_E));
  return _mm512_div_ps(one, _mm512_add_ps(one, exp2_16(power)));
}

}  // namespace

// x += added where there is any; y = weight · bf16(x / rms(x)); scales keep 1 / rms
extern "C" void openqwen_norm(Bf16* x, const Bf16* added, const Bf16* weight, float eps,
                              int64_t rows, int width, Bf16* y, float* scales) {
  for (int64_t row = 0; row < rows; row++, x += width, y += width) {
    if (added) {
      for (int i = 0; i < width; i += 16) {
        const __mmask16 mask = lanes(width - i);
        store16(x + i, _mm512_add_ps(load16(x + i, mask), load16(added + i, mask)), mask);
      }
      added += width;
    }
    const float scale = row_scale(x, width, eps);
    scales[row] = scale;
    for (int i = 0; i < width; i += 16) {
      const __mmask16 mask = lanes(width - i);
      const __m512 unit = rounded(_mm512_mul_ps(load16(x + i, mask), _mm512_set1_ps(scale)));
      store16(y + i, _mm512_mul_ps(unit, load16(weight + i, mask)), mask);
    }
  }
}

// dx += what comes through the norm; dweight (float32) is added to.
// d x = s · (w · dy) - x · s³ / width · sum(w · dy · x)
extern "C" void openqwen_norm_backward(const Bf16* x, const Bf16* dy, const Bf16* weight,
                                       const float* scales, int64_t rows, int width, Bf16* dx,
                                       float* dweight) {
  for (int64_t row = 0; row < rows; row++, x += width, dy += width, dx += width) {
    const __m512 scale = _mm512_set1_ps(scales[row]);
    __m512 dots = _mm512_setzero_ps();
    for (int i = 0; i < width; i += 16) {
      const __mmask16 mask = lanes(width - i);
      const __m512 unit = _mm512_mul_ps(load16(x + i, mask), scale), d = load16(dy + i, mask);
      dots = _mm512_fmadd_ps(_mm512_mul_ps(d, load16(weight + i, mask)), unit, dots);
      store16(dweight + i, _mm512_fmadd_ps(d, rounded(unit), load16(dweight + i, mask)), mask);
    }
    const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(dots) / width);
    for (int i = 0; i < width; i += 16) {
      const __mmask16 mask = lanes(width - i);
      const __m512 unit = _mm512_mul_ps(load16(x + i, mask), scale);
      const __m512 d = _mm512_mul_ps(load16(dy + i, mask), load16(weight + i, mask));
      const __m512 inner = _mm512_fnmadd_ps(unit, mean, d);
      store16(dx + i, _mm512_fmadd_ps(inner, scale, load16(dx + i, mask)), mask);
    }
  }
}

// y = silu(gate) · up of rows gate | up
extern "C" void openqwen_swiglu(const Bf16* gate_up, int64_t rows, int width, Bf16* y) {
  for (int64_t row = 0; row < rows; row++, gate_up += 2 * width, y += width) {
    for (int i = 0; i < width; i += 16) {
      const __mmask16 mask = lanes(width - i);
      const __m512 gate = load16(gate_up + i, mask), up = load16(gate_up + width + i, mask);
      store16(y + i, _mm512_mul_ps(_mm512_mul_ps(gate, sigmoid(gate)), up), mask);
    }
  }
}

// d(gate | up) from dy; y = silu(gate) · up again, for the gradient of what comes behind
extern "C" void openqwen_swiglu_backward(const Bf16* gate_up, const Bf16* dy, int64_t rows,
                                         int width, Bf16* dgate_up, Bf16* y) {
  for (int64_t row = 0; row < rows; row++, gate_up += 2 * width, dgate_up += 2 * width) {
    for (int i = 0; i < width; i += 16) {
      const __mmask16 mask = lanes(width - i);
      const __m512 gate = load16(gate_up + i, mask), up = load16(gate_up + width + i, mask);
      const __m512 d = load16(dy + i, mask), s = sigmoid(gate), one = _mm512_set1_ps(1.0f);
      const __m512 silu = _mm512_mul_ps(gate, s);
      // silu' = s · (1 + gate · (1 - s))
      const __m512 slope = _mm512_mul_ps(s, _mm512_fmadd_ps(gate, _mm512_sub_ps(one, s), one));
      store16(dgate_up + i, _mm512_mul_ps(_mm512_mul_ps(d, up), slope), mask);
      store16(dgate_up + width + i, _mm512_mul_ps(d, silu), mask);
      store16(y + i, _mm512_mul_ps(silu, up), mask);
    }
    dy += width, y += width;
  }
}

// rotate queries and keys in place, pairs i and i + size/2, `sign` -1 turns back;
// qkv (batch, length, width), tables (batch or 1, length, size/2): table_rows 0 or length
extern "C" void openqwen_rotate(Bf16* qkv, const float* cos, const float* sin, int64_t table_rows,
                                float sign, int batch, int length, int heads, int64_t width,
                                int size) {
  const int half = size / 2;
  const __m512 direction = _mm512_set1_ps(sign);
  for (int row = 0; row < batch; row++) {
    for (int t = 0; t < length; t++, qkv += width) {
      const float* c = cos + (row * table_rows + t) * half;
      const float* s = sin + (row * table_rows + t) * half;
      for (int head = 0; head < heads; head++) {
        Bf16* x = qkv + head * size;
        for (int i = 0; i < half; i += 16) {
          const __mmask16 mask = lanes(half - i);
          const __m512 a = load16(x + i, mask), b = load16(x + half + i, mask);
          const __m512 by = load16(c + i, mask), across = _mm512_mul_ps(load16(s + i, mask), direction);
          store16(x + i, _mm512_fmsub_ps(a, by, _mm512_mul_ps(b, across)), mask);
          store16(x + half + i, _mm512_fmadd_ps(b, by, _mm512_mul_ps(a, across)), mask);
        }
      }
    }
  }
}

// sums (float32) += the rows added up
extern "C" void openqwen_add_rows(const Bf16* x, int64_t rows, int width, float* sums) {
  for (int64_t row = 0; row < rows; row++, x += width) {
    for (int i = 0; i < width; i += 16) {
      const __mmask16 mask = lanes(width - i);
      store16(sums + i, _mm512_add_ps(load16(sums + i, mask), load16(x + i, mask)), mask);
    }
  }
}
