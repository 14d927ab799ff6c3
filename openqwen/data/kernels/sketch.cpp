// Documents to shingles, MinHash signatures, band keys and plain bytes, a batch a call; and the
// true Jaccard similarity of pairs of shingle lists.
#include <algorithm>

#include "text.h"

using namespace openqwen;

namespace {

// 32-bit numbers of the runs of n units; a shorter text is one run. Returns how many.
size_t shingles_of(const uint64_t* units, size_t count, int ngram, const uint64_t* factors,
                   uint32_t* out) {
  size_t n = std::min<size_t>(ngram, count);
  if (n == 0) return 0;
  size_t total = count - n + 1;
  if (n == 5) {  // the usual case, unrolled: the compiler makes vectors of it
    for (size_t i = 0; i < total; i++)
      out[i] = mix(units[i] * factors[0] + units[i + 1] * factors[1] + units[i + 2] * factors[2] +
                   units[i + 3] * factors[3] + units[i + 4] * factors[4]) >> 32;
    return total;
  }
  for (size_t i = 0; i < total; i++) {
    uint64_t sum = 0;
    for (size_t j = 0; j < n; j++) sum += units[i + j] * factors[j];
    out[i] = mix(sum) >> 32;
  }
  return total;
}

typedef uint32_t Lanes __attribute__((vector_size(64)));
constexpr int LANES = 16, BLOCK = 8;  // eight vectors of minima stay in registers

void signature_of(const uint32_t* shingles, size_t count, const uint32_t* factors,
                  const uint32_t* offsets, int permutations, uint32_t* out) {
  for (int first = 0; first < permutations; first += LANES * BLOCK) {
    Lanes a[BLOCK] = {}, b[BLOCK] = {}, low[BLOCK];
    int width = std::min(permutations - first, LANES * BLOCK);
    memcpy(a, factors + first, width * 4);
    memcpy(b, offsets + first, width * 4);
    memset(low, 0xFF, sizeof low);
    for (size_t i = 0; i < count; i++) {
      uint32_t shingle = shingles[i];
#pragma GCC unroll 8
      for (int v = 0; v < BLOCK; v++) {
        Lanes hashed = a[v] * shingle + b[v];
        low[v] = hashed < low[v] ? hashed : low[v];
      }
    }
    memcpy(out + first, low, width * 4);
  }
}

// A set of 32-bit numbers: open addressing; slots of earlier sets are told by their epoch.
struct NumberSet {
  std::vector<uint32_t> slots, epochs;
  uint32_t epoch = 0, size = 0;
  int shift = 32;

  void reset(size_t most) {
    int bits = 4;
    while ((1ull << bits) < 2 * most) bits++;
    if (slots.size() < (1ull << bits)) {
      slots.assign(1ull << bits, 0);
      epochs.assign(1ull << bits, 0);
      epoch = 0;
    }
    if (++epoch == 0) {  // once in four billion sets
      std::fill(epochs.begin(), epochs.end(), 0);
      epoch = 1;
    }
    shift = 32 - bits;
    size = 0;
  }
  // The slot of a number: its own where it is there, else a free one.
  size_t find(uint32_t number) const {
    size_t mask = (1ull << (32 - shift)) - 1;
    size_t at = (number * 0x9E3779B1u) >> shift;
    while (epochs[at] == epoch && slots[at] != number) at = (at + 1) & mask;
    return at;
  }
  bool has(uint32_t number) const { return epochs[find(number)] == epoch; }
  bool add(uint32_t number) {
    size_t at = find(number);
    if (epochs[at] == epoch) return false;
    epochs[at] = epoch;
    slots[at] = number;
    size++;
    return true;
  }
};

}  // namespace

extern "C" {

// Units of a batch. `units` has room for as many as there are bytes.
void openqwen_units(const Tables* tables, const uint8_t* bytes, const int64_t* starts, int64_t count,
                    uint64_t* units, int64_t* unit_ends) {
  Scratch scratch;
  int64_t done = 0;
  for (int64_t d = 0; d < count; d++) {
    find_units(*tables, bytes + starts[d], starts[d + 1] - starts[d], scratch, nullptr);
    memcpy(units + done, scratch.units.data(), scratch.count * 8);
    done += scratch.count;
    unit_ends[d] = done;
  }
}

// Everything of a batch. Rooms: `shingles` as many as bytes; `plain` `plain_room` bytes.
void openqwen_sketch(const Tables* tables, const uint8_t* bytes, const int64_t* starts,
                     int64_t count, int ngram, const uint64_t* unit_factors, int permutations,
                     const uint32_t* factors, const uint32_t* offsets, int bands, int rows,
                     uint32_t* shingles, int64_t* shingle_ends, uint32_t* signatures,
                     uint64_t* band_keys, uint8_t* plain, int64_t plain_room, int64_t* plain_ends,
                     uint8_t* states) {
  Scratch scratch;
  Plain to{plain, plain + plain_room};
  std::vector<uint32_t> own(permutations);
  int64_t done = 0;
  for (int64_t d = 0; d < count; d++) {
    uint8_t* plain_start = to.at;
    states[d] = find_units(*tables, bytes + starts[d], starts[d + 1] - starts[d], scratch,
                           plain ? &to : nullptr);
    if (states[d] & ASK_PYTHON) to.at = plain_start;
    if (plain) plain_ends[d] = to.at - plain;
    size_t n = shingles_of(scratch.units.data(), scratch.count, ngram, unit_factors,
                           shingles + done);
    uint32_t* signature = signatures ? signatures + d * permutations : own.data();
    signature_of(shingles + done, n, factors, offsets, permutations, signature);
    for (int band = 0; band < bands; band++) {
      uint64_t key = (band + 1) * 0x9E3779B97F4A7C15ull;
      for (int row = 0; row < rows; row++) key = mix(key ^ signature[band * rows + row]);
      band_keys[d * bands + band] = key;
    }
    done += n;
    shingle_ends[d] = done;
  }
}

// Shared and all numbers of each pair of lists, as sets. Pairs with the same left list that follow
// each other build its set once.
void openqwen_compare(const uint32_t* shingles, const int64_t* starts, const int64_t* ends,
                      const int64_t* left, const int64_t* right, int64_t pairs, int64_t* shared,
                      int64_t* united) {
  NumberSet one, other;
  for (int64_t p = 0; p < pairs; p++) {
    if (p == 0 || left[p] != left[p - 1]) {
      int64_t from = starts[left[p]], to = ends[left[p]];
      one.reset(to - from);
      for (int64_t i = from; i < to; i++) one.add(shingles[i]);
    }
    int64_t from = starts[right[p]], to = ends[right[p]];
    other.reset(to - from);
    int64_t common = 0;
    for (int64_t i = from; i < to; i++)
      if (other.add(shingles[i])) common += one.has(shingles[i]);
    shared[p] = common;
    united[p] = one.size + other.size - common;
  }
}

}  // extern "C"
