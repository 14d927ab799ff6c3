// What comes before a linear layer, done while its input is read: RMSNorm, SwiGLU's gate, nothing.
#pragma once
#include <cmath>

#include "vectors.h"

enum Prologue : int { PLAIN = 0, RMS_NORM = 1, SWIGLU = 2 };

static inline __mmask16 lanes(int left) { return left >= 16 ? 0xFFFF : (1u << left) - 1; }

// what the activations are made of: rows of x, normalised or gated on the way
template <typename T>
struct Input {
  const T* x;
  int prologue, k;
  const float* norm;
  float eps;

  // what RMSNorm multiplies a row by; 1 for the other prologues
  float row_scale(int row) const {
    if (prologue != RMS_NORM) return 1.0f;
    __m512 squares = _mm512_setzero_ps();
    for (int i = 0; i < k; i += 16) {
      const __m512 value = load16(x + size_t(row) * k + i, lanes(k - i));
      squares = _mm512_fmadd_ps(value, value, squares);
    }
    return 1.0f / std::sqrt(_mm512_reduce_add_ps(squares) / k + eps);
  }

  // 16 columns of a row after the prologue; `scale` is its row_scale
  __m512 columns(int row, int i, float scale) const {
    const __mmask16 mask = lanes(k - i);
    if (prologue == SWIGLU) {  // x = gate | up
      const T* gates = x + size_t(row) * 2 * k + i;
      const __m512 gate = load16(gates, mask), up = load16(gates + k, mask);
      const __m512 one = _mm512_set1_ps(1.0f);
      const __m512 below = _mm512_add_ps(one, exp16(_mm512_sub_ps(_mm512_setzero_ps(), gate)));
      return _mm512_mul_ps(_mm512_div_ps(gate, below), up);
    }
    const __m512 value = load16(x + size_t(row) * k + i, mask);
    if (prologue == PLAIN) return value;
    return _mm512_mul_ps(_mm512_mul_ps(value, _mm512_set1_ps(scale)), load16(norm + i, mask));
  }
};
