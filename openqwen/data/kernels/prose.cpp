// What the rule filters measure of a text: its words and characters with a number each, and how
// much its n-grams repeat. `openqwen/data/rules/unit_measures.py` and `repetition.py` hold the same in
// Python; the results are equal.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr uint8_t kWord = 1, kGapless = 2, kNumeric = 4;
constexpr int64_t kWindow = 4096;  // how far back n-grams are looked for

inline uint64_t mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ull;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBull;
  return value ^ (value >> 31);
}

inline uint64_t factor(uint64_t place) { return mix((place + 1) * 0x9E3779B97F4A7C15ull) | 1; }

// The numbers of all runs of n units; grows from the runs of fewer.
class Grams {
 public:
  Grams(const uint64_t* units, int64_t count) : units_(units), count_(count), sums_(count, 0) {}

  int64_t grow(int64_t n) {
    if (n < length_) {
      length_ = 0;
      std::fill(sums_.begin(), sums_.end(), 0);
    }
    for (; length_ < n; ++length_) {
      const uint64_t by = factor(length_);
      for (int64_t i = 0; i + length_ < count_; ++i) sums_[i] += units_[i + length_] * by;
    }
    return count_ - n + 1 > 0 ? count_ - n + 1 : 0;
  }

  uint64_t operator[](int64_t i) const { return mix(sums_[i]); }

 private:
  const uint64_t* units_;
  int64_t count_, length_ = 0;
  std::vector<uint64_t> sums_;
};

struct Slot {
  uint64_t gram;
  int32_t first, count;
};

int64_t power_above(int64_t value) {
  int64_t size = 16;
  while (size < value) size *= 2;
  return size;
}

// Find the most frequent gram, of equally frequent ones the first.
void most_frequent(const Grams& grams, int64_t total, std::vector<Slot>& table, int64_t& place,
                   int64_t& times) {
  const int64_t size = power_above(2 * total);
  table.assign(size, Slot{0, 0, 0});
  Slot* best = nullptr;
  for (int64_t i = 0; i < total; ++i) {
    const uint64_t gram = grams[i];
    int64_t at = gram & (size - 1);
    while (table[at].count && table[at].gram != gram) at = (at + 1) & (size - 1);
    Slot& slot = table[at];
    if (!slot.count) slot = Slot{gram, static_cast<int32_t>(i), 0};
    ++slot.count;
    if (!best || slot.count > best->count ||
        (slot.count == best->count && slot.first < best->first)) {
      best = &slot;
    }
  }
  place = best ? best->first : 0;
  times = best ? best->count : 0;
}

// Sum the lengths of units in grams that stood in the same window before.
int64_t covered_before(const Grams& grams, const int32_t* lengths, int64_t count, int64_t n,
                       std::vector<uint64_t>& seen, std::vector<uint32_t>& stamps,
                       uint32_t& stamp) {
  const int64_t size = 4 * kWindow;
  int64_t covered = 0;
  for (int64_t start = 0; start < count; start += kWindow) {
    const int64_t end = start + kWindow < count ? start + kWindow : count;
    ++stamp;
    int64_t done = start;  // units before this one are counted, or in no repeated gram
    for (int64_t i = start; i + n <= end; ++i) {
      const uint64_t gram = grams[i];
      int64_t at = gram & (size - 1);
      while (stamps[at] == stamp && seen[at] != gram) at = (at + 1) & (size - 1);
      if (stamps[at] != stamp) {
        stamps[at] = stamp;
        seen[at] = gram;
        continue;
      }
      for (int64_t k = done > i ? done : i; k < i + n; ++k) covered += lengths[k];
      done = i + n;
    }
  }
  return covered;
}

}  // namespace

extern "C" {

// Cut a text into words and gapless characters; returns how many there are.
int64_t openqwen_units(const uint32_t* text, int64_t length, const uint8_t* kinds, int32_t* starts,
                       int32_t* lengths, uint64_t* hashes, uint8_t* unit_kinds) {
  int64_t count = 0;
  for (int64_t i = 0; i < length;) {
    const uint8_t kind = kinds[text[i]];
    if (!(kind & (kWord | kGapless))) {
      ++i;
      continue;
    }
    int64_t end = i + 1;
    uint8_t numeric = kind & kNumeric;
    uint64_t hash = (0xcbf29ce484222325ull ^ text[i]) * 0x100000001b3ull;
    if (kind & kWord) {
      for (; end < length && (kinds[text[end]] & kWord); ++end) {
        hash = (hash ^ text[end]) * 0x100000001b3ull;
        hash ^= hash >> 29;
        numeric &= kinds[text[end]];
      }
    }
    starts[count] = static_cast<int32_t>(i);
    lengths[count] = static_cast<int32_t>(end - i);
    hashes[count] = mix(hash);
    unit_kinds[count++] = (kind & (kWord | kGapless)) | numeric;
    i = end;
  }
  return count;
}

// Count how many of the wanted numbers stand among a text's; at most 64 are wanted.
int64_t openqwen_present(const uint64_t* hashes, int64_t count, const uint64_t* wanted,
                         int64_t num_wanted) {
  uint64_t filter[16] = {0}, found = 0;
  for (int64_t k = 0; k < num_wanted; ++k) {
    filter[(wanted[k] >> 6) & 15] |= 1ull << (wanted[k] & 63);
  }
  for (int64_t i = 0; i < count; ++i) {
    if (!(filter[(hashes[i] >> 6) & 15] >> (hashes[i] & 63) & 1)) continue;
    for (int64_t k = 0; k < num_wanted; ++k) {
      if (wanted[k] == hashes[i]) found |= 1ull << k;
    }
  }
  return __builtin_popcountll(found);
}

// Find sequences of units, given by all their units, where each ends, and their sorted first units.
// Writes place and row of each one found, as far as there is room; returns how many there are.
int64_t openqwen_find(const uint64_t* hashes, int64_t count, const uint64_t* units,
                      const int64_t* ends, const uint64_t* firsts, int64_t num_sequences,
                      const uint8_t* filter, int64_t* out, int64_t room) {
  int64_t found = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (!filter[hashes[i] & 0xFFFF]) continue;
    int64_t row = std::lower_bound(firsts, firsts + num_sequences, hashes[i]) - firsts;
    for (; row < num_sequences && firsts[row] == hashes[i]; ++row) {
      const int64_t start = row ? ends[row - 1] : 0, length = ends[row] - start;
      if (i + length > count) continue;
      if (memcmp(hashes + i, units + start, length * sizeof(uint64_t))) continue;
      if (found < room) {
        out[2 * found] = i;
        out[2 * found + 1] = row;
      }
      ++found;
    }
  }
  return found;
}

// For each n of the first list the place and the count of the most frequent n-gram, for each of
// the second the summed lengths of units in n-grams seen before.
void openqwen_repetition(const uint64_t* hashes, const int32_t* lengths, int64_t count,
                         const int64_t* top, int64_t num_top, const int64_t* duplicate,
                         int64_t num_duplicate, int64_t* top_out, int64_t* covered_out) {
  Grams grams(hashes, count);
  std::vector<Slot> table;
  for (int64_t k = 0; k < num_top; ++k) {
    const int64_t total = grams.grow(top[k]);
    most_frequent(grams, total, table, top_out[2 * k], top_out[2 * k + 1]);
  }
  std::vector<uint64_t> seen(4 * kWindow);
  std::vector<uint32_t> stamps(4 * kWindow, 0);
  uint32_t stamp = 0;
  for (int64_t k = 0; k < num_duplicate; ++k) {
    grams.grow(duplicate[k]);
    covered_out[k] =
        covered_before(grams, lengths, count, duplicate[k], seen, stamps, stamp);
  }
}
}
