// Quantised linear layers, on AVX-512 VNNI or AVX2: out = prologue(x) · Wᵀ + bias + residual.
//
// Weights: unsigned bytes (value + 128) or nibbles (value + 8), in panels of 32 output rows; within
// a panel four columns of each row stand together, the unit that one instruction multiplies:
//   8 bits: [N/32][K/4][32 rows][4 columns]
//   4 bits: [N/32][K/8][32 rows][4 bytes], low nibbles columns 0-3 of eight, high nibbles 4-7
// One scale a row and group of G columns, fp16 [N/32][K/G][32].
// Activations are rounded to int8 with one scale a row and group. Sums within a group are exact
// integers, groups are added in order: a row's result does not depend on the rows beside it.
#include <omp.h>

#include <algorithm>
#include <vector>

#include "input.h"
#ifdef __AVX512F__
#include "tiles_avx512.h"
#else
#include "tiles_avx2.h"
#endif

namespace {

// one group of one row of the input, as one of the `stride` rows of a tile
template <typename T>
void quantise(const Input<T>& input, int group, int bits, int row, int g, float row_scale,
              int32_t* fours, float* scale, int32_t* begin, int stride) {
  alignas(64) float values[256];
  Floats most = zeros();
  for (int i = 0; i < group; i += 16) {
    const Floats value = input.columns(row, g * group + i, row_scale);
    most = max16(most, abs16(value));
    store16(values + i, value);
  }
  const float top = largest(most);
  const Floats inverse = spread(top > 0 ? 127.0f / top : 0.0f);
  Wholes sum = no_wholes();
  for (int i = 0; i < group; i += 16) {
    int32_t four[4];
    to_bytes(load16(values + i) * inverse, four, sum);
    for (int j = 0; j < 4; j++, fours += stride) *fours = four[j];
  }
  *scale = top / 127.0f;
  *begin = beginning(bits, -(1 << (bits - 1)) * total(sum));
}

// thread `index` of `team` fills its share of tiles x groups
template <typename T>
void fill(const Input<T>& input, Activations& a, int m, int group, int bits, int index,
          int team) {
  const int most = rows_of_tile(m), groups = input.k / group;
  const Share share(((m + most - 1) / most) * groups, index, team);
  float scales[MOST_ROWS] = {};
  for (int item = share.begin; item < share.end; item++) {
    const int first = item / groups * most, g = item % groups, rows = std::min(most, m - first);
    if (item == share.begin || g == 0) {
      for (int r = 0; r < rows; r++) {
        scales[r] = input.row_scale(first + r);
      }
    }
    const size_t at = size_t(first) * groups + size_t(g) * rows;
    int32_t* fours = &a.fours[size_t(first) * (input.k / 4) + size_t(g) * (group / 4) * rows];
    for (int r = 0; r < rows; r++) {
      quantise(input, group, bits, first + r, g, scales[r], fours + r, &a.scales[at + r],
               &a.beginnings[at + r], rows);
    }
  }
}

template <typename T>
void multiply(const Input<T>& input, int bits, const Job& job, Activations& a, int index,
              int team) {
  fill(input, a, job.m, job.group, bits, index, team);
#pragma omp barrier
  const Share share((job.n + PANEL - 1) / PANEL, index, team);
  if (bits == 8) {
    some_panels<8, T>(job, share.begin, share.end);
  } else {
    some_panels<4, T>(job, share.begin, share.end);
  }
}

}  // namespace

void quantised_part(const Matrix& w, const Source& x, int m, const void* residual, void* out,
                    Scratch& scratch, int index, int team) {
  Activations& a = scratch.whole;
  const Job job{m,      w.n,      w.k, w.group, static_cast<const uint8_t*>(w.weights),
                w.scales, w.bias, residual, out, &a};
  if (x.type == BF16) {
    multiply(Input<Bf16>{static_cast<const Bf16*>(x.x), x.prologue, w.k, x.norm, x.eps}, w.bits,
             job, a, index, team);
  } else {
    multiply(Input<float>{static_cast<const float*>(x.x), x.prologue, w.k, x.norm, x.eps}, w.bits,
             job, a, index, team);
  }
}
