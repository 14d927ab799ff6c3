// What a tile of a quantised product knows; the tiles themselves are in tiles_avx512.h, tiles_avx2.h.
#pragma once
#include "layers.h"

#define UNROLL _Pragma("GCC unroll 16")

namespace {

constexpr int PANEL = 32;

struct Job {
  int m, n, k, group;
  const uint8_t* weights;
  const uint16_t* scales;
  const float* bias;
  const void* residual;
  void* out;
  const Activations* a;
};

}  // namespace
