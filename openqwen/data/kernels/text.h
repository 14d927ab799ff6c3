// Text to the numbers of its units, and to the bytes that say which texts are the same.
//
// What a code point is (gap, part of a word, a unit by itself), its lower case and its plain form
// come from tables made by Python's own `re`, `str.lower` and `unicodedata` (tables.py), so that
// both sides agree on every code point.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__AVX512BW__)
#include <immintrin.h>
#endif

namespace openqwen {

enum : uint8_t { KIND = 3, LOWERS = 4, PLAINS = 8, JOINS = 16 };  // flags of a code point
enum : uint8_t { GAP = 0, WORD = 1, ALONE = 2 };                 // its kind
enum : uint8_t { ASK_PYTHON = 1 };                               // of a document: its plain form

struct Tables {
  const uint8_t* flags;      // one a code point
  const int32_t* lower_at;   // place in `strings` of those with LOWERS: a length, then UTF-8
  const int32_t* plain_at;   // of those with PLAINS
  const uint8_t* strings;
};

inline uint64_t mix(uint64_t x) {  // the finish of splitmix64
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

inline uint64_t absorb(uint64_t h, uint64_t eight_bytes) {
  h = (h ^ eight_bytes) * 0x9E3779B97F4A7C15ull;
  return h ^ (h >> 32);
}

inline uint64_t load_up_to_8(const uint8_t* at, size_t n) {  // reads 8; the buffer has room behind
  uint64_t value;
  memcpy(&value, at, 8);
  return n >= 8 ? value : value & ((1ull << (8 * n)) - 1);
}

// the number of a unit: its length, then its bytes eight by eight, little-endian, filled with zeros
inline uint64_t unit_hash(const uint8_t* at, size_t n) {
  uint64_t h = n * 0x9E3779B97F4A7C15ull;
  size_t i = 0;
  for (; i + 8 < n; i += 8) h = absorb(h, load_up_to_8(at + i, 8));
  return mix(absorb(h, load_up_to_8(at + i, n - i)));
}

// one code point of well-formed UTF-8 (lone surrogates in three bytes included)
inline uint32_t decode(const uint8_t* at, int& size) {
  uint8_t lead = at[0];
  if (lead < 0x80) { size = 1; return lead; }
  if (lead < 0xE0) { size = 2; return (lead & 0x1F) << 6 | (at[1] & 0x3F); }
  if (lead < 0xF0) {
    size = 3;
    return (lead & 0x0F) << 12 | (at[1] & 0x3F) << 6 | (at[2] & 0x3F);
  }
  size = 4;
  return (lead & 0x07) << 18 | (at[1] & 0x3F) << 12 | (at[2] & 0x3F) << 6 | (at[3] & 0x3F);
}

// bit i: byte i of a block of 64 is an ASCII letter or digit; the block in lower case goes to `low`
inline uint64_t word_bits(const uint8_t* at, uint8_t* low) {
#if defined(__AVX512BW__)
  __m512i c = _mm512_loadu_si512(at);
  __mmask64 capital =
      _mm512_cmplt_epu8_mask(_mm512_sub_epi8(c, _mm512_set1_epi8('A')), _mm512_set1_epi8(26));
  c = _mm512_mask_or_epi32(c, 0xFFFF, c, _mm512_maskz_set1_epi8(capital, 0x20));
  _mm512_storeu_si512(low, c);
  return _mm512_cmplt_epu8_mask(_mm512_sub_epi8(c, _mm512_set1_epi8('a')), _mm512_set1_epi8(26)) |
         _mm512_cmplt_epu8_mask(_mm512_sub_epi8(c, _mm512_set1_epi8('0')), _mm512_set1_epi8(10));
#else
  uint64_t bits = 0;
  for (int i = 0; i < 64; i++) {
    uint8_t c = at[i];
    c |= (uint8_t)(c - 'A') < 26 ? 0x20 : 0;
    low[i] = c;
    bits |= (uint64_t)((uint8_t)(c - 'a') < 26 || (uint8_t)(c - '0') < 10) << i;
  }
  return bits;
#endif
}

inline bool is_ascii(const uint8_t* at, size_t n) {
  uint64_t any = 0;
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    uint64_t eight;
    memcpy(&eight, at + i, 8);
    any |= eight;
  }
  for (; i < n; i++) any |= at[i];
  return !(any & 0x8080808080808080ull);
}

// Room that the documents of a call share.
struct Scratch {
  std::vector<uint8_t> low;      // a document in lower case, blocks of 64
  std::vector<uint64_t> units;   // the numbers of one document's units
  size_t count = 0;              // how many of them
};

// The bytes a caller wants the plain form in; null where it doesn't.
struct Plain {
  uint8_t* at;
  uint8_t* end;
};

inline void ascii_units(const uint8_t* text, size_t n, Scratch& s, Plain* plain) {
  size_t blocks = (n + 63) / 64;
  if (s.low.size() < blocks * 64 + 64) s.low.resize(blocks * 64 + 64);
  uint8_t* low = s.low.data();
  uint64_t* out = s.units.data();
  size_t start = 0;
  uint64_t last = 0;  // whether the byte before was of a word
  uint8_t tail[64];
  for (size_t b = 0; b < blocks; b++) {
    const uint8_t* at = text + b * 64;
    if (n - b * 64 < 64) {
      memset(tail, 0, 64);
      memcpy(tail, at, n - b * 64);
      at = tail;
    }
    uint64_t word = word_bits(at, low + b * 64);
    if (plain) {
      uint8_t* to = plain->at;
#if defined(__AVX512VBMI2__)
      _mm512_storeu_si512(to, _mm512_maskz_compress_epi8(word, _mm512_loadu_si512(low + b * 64)));
      plain->at = to + __builtin_popcountll(word);
#else
      for (int i = 0; i < 64; i++) { *to = low[b * 64 + i]; to += word >> i & 1; }
      plain->at = to;
#endif
    }
    uint64_t edges = word ^ (word << 1 | last);
    bool inside = last;
    last = word >> 63;
    while (edges) {
      size_t place = b * 64 + __builtin_ctzll(edges);
      edges &= edges - 1;
      if (inside) *out++ = unit_hash(low + start, place - start);
      start = inside ? start : place;
      inside = !inside;
    }
  }
  if (last) *out++ = unit_hash(low + start, blocks * 64 - start);
  s.count = out - s.units.data();
}

struct UnitWriter {  // takes code points one by one
  uint8_t* start;    // of the word that is open
  uint8_t* at;
  uint64_t* out;

  void close() {
    if (at != start) *out++ = unit_hash(start, at - start);
    at = start;
  }
  void take(const uint8_t* bytes, int size, uint8_t kind) {
    if (kind == WORD) {
      for (int i = 0; i < size; i++) at[i] = bytes[i];
      at += size;
      return;
    }
    close();
    if (kind == ALONE) {
      memcpy(at, bytes, size);
      *out++ = unit_hash(at, size);
    }
  }
};

// Returns what is left to Python.
inline uint8_t unicode_units(
    const Tables& tables, const uint8_t* text, size_t n, Scratch& s, Plain* plain) {
  if (s.low.size() < 2 * n + 128) s.low.resize(2 * n + 128);
  UnitWriter writer{s.low.data(), s.low.data(), s.units.data()};
  uint8_t state = 0;
  for (size_t i = 0; i < n;) {
    int size;
    uint32_t point = decode(text + i, size);
    uint8_t flags = tables.flags[point];
    if (flags & LOWERS) {
      const uint8_t* string = tables.strings + tables.lower_at[point];
      const uint8_t* end = string + 1 + string[0];
      for (const uint8_t* at = string + 1; at < end;) {
        int part;
        uint32_t lowered = decode(at, part);
        writer.take(at, part, tables.flags[lowered] & KIND);
        at += part;
      }
    } else {
      writer.take(text + i, size, flags & KIND);
    }
    if (plain && !state) {
      if (flags & JOINS || plain->end - plain->at < 64) state = ASK_PYTHON;
      else if (flags & PLAINS) {
        const uint8_t* string = tables.strings + tables.plain_at[point];
        memcpy(plain->at, string + 1, string[0]);
        plain->at += string[0];
      } else {
        for (int j = 0; j < size; j++) plain->at[j] = text[i + j];
        plain->at += size;
      }
    }
    i += size;
  }
  writer.close();
  s.count = writer.out - s.units.data();
  return state;
}

// The units of a text. One takes two bytes at least: a letter and a gap, or a character that stands
// alone, which has two or three.
inline uint8_t find_units(
    const Tables& tables, const uint8_t* text, size_t n, Scratch& s, Plain* plain) {
  if (s.units.size() < n / 2 + 2) s.units.resize(n / 2 + 2);
  if (is_ascii(text, n) && (!plain || plain->end - plain->at >= (std::ptrdiff_t)n + 64)) {
    ascii_units(text, n, s, plain);
    return 0;
  }
  return unicode_units(tables, text, n, s, plain);
}

}  // namespace openqwen
