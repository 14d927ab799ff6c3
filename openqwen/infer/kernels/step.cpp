// What Python calls: one linear layer, one attention of decoding, and the whole stack of layers for
// one new token a sequence in a single team of threads, so that a token costs no more calls.
#include <omp.h>

#include <algorithm>

#include "input.h"
#include "layers.h"

void reserve(const Matrix& w, int m, Scratch& scratch) {
  const auto grow = [](auto& memory, size_t size) {
    if (memory.size() < size) memory.resize(size);
  };
  if (w.bits == 16) return grow(scratch.rows, size_t(m) * w.k);
  const size_t groups = w.k / w.group;
  grow(scratch.whole.fours, size_t(m) * (w.k / 4));
  grow(scratch.whole.scales, m * groups);
  grow(scratch.whole.beginnings, m * groups);
}

namespace {

void multiply_part(const Matrix& w, const Source& x, int m, const void* residual, void* out,
                   Scratch& scratch, int index, int team) {
#ifdef __AVX512BF16__  // without it nobody passes such a matrix
  if (w.bits == 16) return bf16_part(w, x, m, residual, out, scratch, index, team);
#endif
  quantised_part(w, x, m, residual, out, scratch, index, team);
}

Scratch& scratch_of_this_thread() {
  static thread_local Scratch scratch;  // grows, never shrinks
  return scratch;
}

}  // namespace

// mirrored by `_Layer` in ops.py
struct Layer {
  Matrix qkv, out, gate_up, down;
  const float *attention_norm, *mlp_norm;
};

// x (m, k) or, with the SWIGLU prologue, (m, 2k); out and residual (m, n); all contiguous, of `type`
extern "C" void openqwen_linear(const void* x, int type, int prologue, const float* norm, float eps,
                                int m, const Matrix* matrix, const void* residual, void* out,
                                int threads) {
  Scratch& scratch = scratch_of_this_thread();
  reserve(*matrix, m, scratch);
  const Source source{x, type, prologue, norm, eps};
#pragma omp parallel num_threads(threads)
  multiply_part(*matrix, source, m, residual, out, scratch, omp_get_thread_num(),
                omp_get_num_threads());
}

// out (m, k) = what a layer of many rows multiplies, whose product is torch's: bf16 only
extern "C" void openqwen_prologue(const void* x, int prologue, const float* norm, float eps, int m,
                                  int k, void* out, int threads) {
  const Input<Bf16> input{static_cast<const Bf16*>(x), prologue, k, norm, eps};
  Bf16* y = static_cast<Bf16*>(out);
#pragma omp parallel for num_threads(threads)
  for (int row = 0; row < m; row++) {
    const float scale = input.row_scale(row);
    for (int i = 0; i < k; i += 16) {
      store16(y + size_t(row) * k + i, input.columns(row, i, scale), lanes(k - i));
    }
  }
}

extern "C" void openqwen_decode(const void* qkv, int type, int heads, int kv_heads, int size,
                                const float* cos, const float* sin, int stride, const float* logn,
                                int logn_stride, int batch, const Places* places, void* y,
                                int threads) {
  const Tables tables{cos, sin, logn, stride, logn_stride};
#pragma omp parallel num_threads(threads)
  attend_part(qkv, type, {heads, kv_heads, size}, tables, batch, *places, y, omp_get_thread_num(),
              omp_get_num_threads());
}

// x (batch, hidden) goes through all layers in place; wide, mixed (batch, widest) and (batch, heads
// E) hold what stands between them
extern "C" void openqwen_layers(void* x, int type, int count, const Layer* layers,
                                const Places* places, int heads, int kv_heads, int size, float eps,
                                const float* cos, const float* sin, int stride, const float* logn,
                                int logn_stride, int batch, void* wide, void* mixed, int threads) {
  Scratch& scratch = scratch_of_this_thread();
  for (int i = 0; i < count; i++) {
    for (const Matrix* w : {&layers[i].qkv, &layers[i].out, &layers[i].gate_up, &layers[i].down}) {
      reserve(*w, batch, scratch);
    }
  }
  const Heads shape{heads, kv_heads, size};
  const Tables tables{cos, sin, logn, stride, logn_stride};
#pragma omp parallel num_threads(threads)
  {
    const int index = omp_get_thread_num(), team = omp_get_num_threads();
    for (int i = 0; i < count; i++) {
      const Layer& layer = layers[i];
      multiply_part(layer.qkv, {x, type, RMS_NORM, layer.attention_norm, eps}, batch, nullptr, wide,
                    scratch, index, team);
#pragma omp barrier
      attend_part(wide, type, shape, tables, batch, places[i], mixed, index, team);
#pragma omp barrier
      multiply_part(layer.out, {mixed, type, PLAIN, nullptr, 0}, batch, x, x, scratch, index, team);
#pragma omp barrier
      multiply_part(layer.gate_up, {x, type, RMS_NORM, layer.mlp_norm, eps}, batch, nullptr, wide,
                    scratch, index, team);
#pragma omp barrier
      multiply_part(layer.down, {wide, type, SWIGLU, nullptr, 0}, batch, x, x, scratch, index,
                    team);
#pragma omp barrier
    }
  }
}
