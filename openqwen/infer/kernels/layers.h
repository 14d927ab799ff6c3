// What the kernels hand each other: matrices, where a layer's input comes from, scratch memory.
// Functions named *_part are called by every thread of a team, each with its index.
#pragma once
#include <vector>

#include "vectors.h"

// rows of int8 activations in tiles: of R rows, four columns of each stand together
struct Activations {
  std::vector<int32_t> fours;    // [M/R][K/4][R], each four int8
  std::vector<float> scales;     // [M/R][K/G][R]
  std::vector<int32_t> beginnings;  // [M/R][K/G][R]: of sums, for the weights' unsigned form
};

struct Scratch {
  Activations whole;       // for quantised matrices
  std::vector<Bf16> rows;  // for bf16 matrices
};

// mirrored by `_Matrix` in ops.py
struct Matrix {
  int bits, n, k, group;  // 16 for bf16, whose group is unused
  const void* weights;
  const uint16_t* scales;
  const float* bias;
};

// the input of a layer, of `type`: (m, k) or, for SWIGLU, (m, 2k)
struct Source {
  const void* x;
  int type, prologue;
  const float* norm;
  float eps;
};

// out = prologue(x) · Wᵀ + bias + residual; one barrier inside, none at the end
void quantised_part(const Matrix& w, const Source& x, int m, const void* residual, void* out,
                    Scratch& scratch, int index, int team);
void bf16_part(const Matrix& w, const Source& x, int m, const void* residual, void* out,
               Scratch& scratch, int index, int team);
// what bf16_part does with more than a few rows: x is ready, (m, k), the same memory for all threads
void bf16_batch_part(const Matrix& w, const Bf16* x, int m, const Bf16* residual, Bf16* out,
                     int index, int team);
// make room before the team starts
void reserve(const Matrix& w, int m, Scratch& scratch);

struct Heads {
  int heads, kv_heads, size;
};

// rotation tables and LogN factors: a row a sequence, or one for all where the stride is 0
struct Tables {
  const float *cos, *sin, *logn;
  int stride, logn_stride;
};

// where one layer's keys and values stand; mirrored by `_Places` in ops.py
struct Places {
  void *keys, *values;         // (blocks, kv_heads, block, size)
  const int32_t *table;        // (batch, table_stride)
  const int32_t *next, *low;   // (batch): the new token's slot, the first slot that it sees
  int table_stride, block;
};

// all rows' keys and values are stored before any row attends
void attend_part(const void* qkv, int type, Heads heads, const Tables& tables, int batch,
                 const Places& places, void* y, int index, int team);
