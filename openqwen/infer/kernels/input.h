// What comes before a linear layer, done while its input is read: RMSNorm, SwiGLU's gate, nothing.
#pragma once
#include <cmath>

#include "vectors.h"

enum Prologue : int { PLAIN = 0, RMS_NORM = 1, SWIGLU = 2 };

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
    Floats squares = zeros();
    for (int i = 0; i < k; i += 16) {
      const Floats value = load16(x + size_t(row) * k + i, lanes(k - i));
      squares = fma16(value, value, squares);
    }
    return 1.0f / std::sqrt(total(squares) / k + eps);
  }

  // 16 columns of a row after the prologue; `scale` is its row_scale
  Floats columns(int row, int i, float scale) const {
    const Lanes mask = lanes(k - i);
    if (prologue == SWIGLU) {  // x = gate | up
      const T* gates = x + size_t(row) * 2 * k + i;
      const Floats gate = load16(gates, mask), up = load16(gates + k, mask);
      return gate / (spread(1.0f) + exp16(zeros() - gate)) * up;
    }
    const Floats value = load16(x + size_t(row) * k + i, mask);
    if (prologue == PLAIN) return value;
    return value * spread(scale) * load16(norm + i, mask);
  }
};
