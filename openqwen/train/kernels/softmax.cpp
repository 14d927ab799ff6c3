// Softmax over a vocabulary, bf16 logits row by row: log-probabilities of the targets, then the
// slopes of the loss in place of the logits. Sums are float32, the logits are never copied wider.
#include <cmath>

#include "vectors.h"

// log-sum-exp of each row and the target's log-probability
extern "C" void openqwen_log_probs(const Bf16* logits, int64_t rows, int64_t width,
                                   const int64_t* targets, float* log_sums, float* log_probs) {
  for (int64_t row = 0; row < rows; row++) {
    const Bf16* x = logits + row * width;
    __m512 most[2] = {_mm512_set1_ps(-INFINITY), _mm512_set1_ps(-INFINITY)};
    int64_t i = 0;
    for (; i + 32 <= width; i += 32) {
      UNROLL for (int v = 0; v < 2; v++) most[v] = _mm512_max_ps(most[v], load16(x + i + 16 * v));
    }
    for (; i < width; i += 16) {
      const __mmask16 mask = lanes(width - i);
      most[0] = _mm512_mask_max_ps(most[0], mask, most[0], load16(x + i, mask));
    }
    const float top = _mm512_reduce_max_ps(_mm512_max_ps(most[0], most[1]));
    const __m512 shift = _mm512_set1_ps(-top * LOG2_E), scale = _mm512_set1_ps(LOG2_E);
    __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    for (i = 0; i + 32 <= width; i += 32) {
      UNROLL for (int v = 0; v < 2; v++) {
        const __m512 power = _mm512_fmadd_ps(load16(x + i + 16 * v), scale, shift);
        sums[v] = _mm512_add_ps(sums[v], exp2_16(power));
      }
    }
    for (; i < width; i += 16) {
      const __mmask16 mask = lanes(width - i);
      const __m512 power = _mm512_fmadd_ps(load16(x + i, mask), scale, shift);
      sums[0] = _mm512_mask_add_ps(sums[0], mask, sums[0], exp2_16(power));
    }
    log_sums[row] = top + std::log(_mm512_reduce_add_ps(_mm512_add_ps(sums[0], sums[1])));
    const uint32_t wide = uint32_t(x[targets[row]].bits) << 16;
    float target;
    std::memcpy(&target, &wide, 4);
    log_probs[row] = target - log_sums[row];
  }
}

// logits = -slope · (softmax - one-hot); null slopes are -1
extern "C" void openqwen_logit_gradients(Bf16* logits, int64_t rows, int64_t width,
                                         const int64_t* targets, const float* log_sums,
                                         const float* slopes) {
  for (int64_t row = 0; row < rows; row++) {
    Bf16* x = logits + row * width;
    const float slope = slopes ? -slopes[row] : 1.0f;
    const uint32_t wide = uint32_t(x[targets[row]].bits) << 16;
    float target;
    std::memcpy(&target, &wide, 4);
    const float of_target = slope * (std::exp(target - log_sums[row]) - 1.0f);
    const __m512 by = _mm512_set1_ps(slope), scale = _mm512_set1_ps(LOG2_E);
    const __m512 shift = _mm512_set1_ps(-log_sums[row] * LOG2_E);
    int64_t i = 0;
    for (; i + 32 <= width; i += 32) {
      __m512 p[2];
      UNROLL for (int v = 0; v < 2; v++) {
        p[v] = exp2_16(_mm512_fmadd_ps(load16(x + i + 16 * v), scale, shift));
        p[v] = _mm512_mul_ps(p[v], by);
      }
      _mm512_storeu_si512(x + i, (__m512i)_mm512_cvtne2ps_pbh(p[1], p[0]));
    }
    for (; i < width; i += 16) {
      const __mmask16 mask = lanes(width - i);
      const __m512 p = exp2_16(_mm512_fmadd_ps(load16(x + i, mask), scale, shift));
      store16(x + i, _mm512_mul_ps(p, by), mask);
    }
    store16(x + targets[row], _mm512_set1_ps(of_target), 1);
  }
}
