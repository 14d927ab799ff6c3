#pragma once
// Text to token ids: Qwen's split pattern by hand, then byte-level BPE on tiktoken ranks.
//
// Exact: the same ids as tiktoken with the same ranks and pattern, for any valid UTF-8. Which
// characters are letters, numbers and white space comes in as a table, taken from tiktoken's own
// regex engine. tests/tokenizer/test_fast_encoding.py holds the two together.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <queue>
#include <vector>

namespace bpe {

using u8 = uint8_t;
using u32 = uint32_t;
using u64 = uint64_t;

enum Kind : u8 { OTHER = 0, LETTER = 1, NUMBER = 2, SPACE = 3, NEWLINE = 4 };

constexpr u32 NONE = 0xffffffff;      // no token; as a rank the worst
constexpr size_t HEAP_FROM = 240;     // bytes of a piece from which a heap finds merges; below 256
constexpr size_t KEPT_BYTES = 16;     // longest piece that the cache of pieces holds
constexpr size_t KEPT_TOKENS = 11;    // most tokens of one; 64 bytes an entry in all
constexpr size_t KEPT_PIECES = 1 << 14;
constexpr u64 ODD = 0x9e3779b97f4a7c15ULL;

inline u64 mix(u64 x) {
    x *= ODD;
    return x ^ (x >> 32);
}

// The last `size` <= 8 bytes of a word read at `p`, never past `end`.
inline u64 load(const u8* p, size_t size, const u8* end) {
    u64 word = 0;
    if (size_t(end - p) >= 8) {
        std::memcpy(&word, p, 8);
        return size == 8 ? word : word & ((u64(1) << (8 * size)) - 1);
    }
    std::memcpy(&word, p, size);
    return word;
}

// What stands for a run of bytes in the table: themselves up to 8, else a hash.
inline u64 key_of(const u8* p, size_t size, const u8* end) {
    if (size <= 8) return load(p, size, end);
    u64 key = size;
    const u8* last = p + size - 8;
    for (; p < last; p += 8) {
        u64 word;
        std::memcpy(&word, p, 8);
        key = mix(key ^ word);
    }
    u64 word;
    std::memcpy(&word, last, 8);
    return mix(key ^ word);
}

// A vocabulary as it comes in: tokens one behind the other, the control tokens last.
struct Given {
    const u8* bytes;
    const u32 *sizes, *ids;
    size_t num_ranks, num_tokens;
};

// Id -> bytes, of control tokens too.
class Tokens {
  public:
    explicit Tokens(const Given& given) {
        size_t total = 0;
        for (size_t i = 0; i < given.num_tokens; i++) {
            if (given.ids[i] >= spans_.size()) spans_.resize(given.ids[i] + size_t(1), {NONE, 0});
            spans_[given.ids[i]] = {u32(total), given.sizes[i]};
            total += given.sizes[i];
        }
        bytes_.assign(given.bytes, given.bytes + total);
    }

    size_t num_ids() const { return spans_.size(); }
    const u8* bytes(u32 id) const { return &bytes_[spans_[id].start]; }
    u32 size(u32 id) const { return spans_[id].size; }
    bool has(long id) const {
        return id >= 0 && size_t(id) < spans_.size() && spans_[id].start != NONE;
    }

  private:
    struct Span {
        u32 start, size;
    };
    std::vector<u8> bytes_;
    std::vector<Span> spans_;
};

// Token bytes -> id, by open addressing.
class Ranks {
  public:
    Ranks(const Tokens& tokens, const Given& given) : tokens_(tokens) {
        size_t slots = 512;
        while (slots < 2 * given.num_ranks) slots *= 2;
        slots_.assign(slots, Slot{0, NONE, 0});
        pairs_.assign(1 << 16, NONE);
        mask_ = slots - 1;
        seen_.assign(slots / 16, 0);
        seen_mask_ = slots / 16 - 1;
        for (size_t i = 0; i < given.num_ranks; i++) {
            const u32 id = given.ids[i], size = given.sizes[i];
            const u8* p = tokens.bytes(id);
            const u64 key = key_of(p, size, p + size);
            const u64 hash = mix(key + size);
            seen_[hash >> 6 & seen_mask_] |= u64(1) << (hash & 63);
            size_t at = hash >> 8 & mask_;
            while (slots_[at].id != NONE) at = (at + 1) & mask_;
            slots_[at] = {key, id, size};
            longest_ = std::max<size_t>(longest_, size);
            if (size == 1) singles_[p[0]] = id;
            if (size == 2) pairs_[p[0] << 8 | p[1]] = id;
        }
    }

    u32 find(const u8* p, size_t size, u64 key) const {
        const u64 hash = mix(key + size);
        if (!(seen_[hash >> 6 & seen_mask_] >> (hash & 63) & 1)) return NONE;
        for (size_t at = hash >> 8 & mask_;; at = (at + 1) & mask_) {
            const Slot& slot = slots_[at];
            if (slot.id == NONE) return NONE;
            if (slot.key != key || slot.size != size) continue;
            if (size <= 8 || !std::memcmp(tokens_.bytes(slot.id), p, size)) return slot.id;
        }
    }
    u32 find(const u8* p, size_t size, const u8* end) const {
        if (size == 2) return pairs_[p[0] << 8 | p[1]];
        return size > longest_ ? NONE : find(p, size, key_of(p, size, end));
    }
    u32 single(u8 byte) const { return singles_[byte]; }
    u32 pair(const u8* p) const { return pairs_[p[0] << 8 | p[1]]; }

  private:
    struct Slot {
        u64 key;
        u32 id;
        u32 size;
    };
    const Tokens& tokens_;
    std::vector<u32> pairs_;
    std::vector<Slot> slots_;
    u32 singles_[256] = {};
    std::vector<u64> seen_;
    size_t mask_, seen_mask_, longest_ = 0;
};

// Ids of pieces met before that are no token themselves.
struct Kept {
    u64 low, high;
    u8 size = 0, count;
    u32 ids[KEPT_TOKENS];
};

// What one thread works with.
struct Bench {
    std::vector<Kept> kept{KEPT_PIECES};
    std::vector<u32> ranks, nexts, befores;
};

// The split pattern: where a piece that begins at `p` ends.
class Splitter {
  public:
    Splitter(const u8* kinds, size_t digits) : kinds_(kinds, kinds + 0x110000), digits_(digits) {}

    const u8* piece(const u8* p, const u8* end) const {
        size_t size;
        const Kind kind = kind_at(p, size);
        const u8* after = p + size;
        if (kind == LETTER) return run(after, end, LETTER);
        if (kind == NUMBER) {
            for (size_t i = 1; i < digits_ && after < end && kind_at(after, size) == NUMBER; i++)
                after += size;
            return after;
        }
        if (*p == '\'')
            if (const u8* cut = contraction(after, end)) return cut;
        if (kind != NEWLINE && after < end) {
            const Kind next = kind_at(after, size);
            if (next == LETTER) return run(after + size, end, LETTER);
            if (*p == ' ' && next == OTHER) return newlines(run(after + size, end, OTHER), end);
        }
        if (kind == OTHER) return newlines(run(after, end, OTHER), end);
        return space(p, end);
    }

  private:
    Kind kind_at(const u8* p, size_t& size) const {
        const u32 lead = *p;
        size = 1;
        if (lead < 0x80) return Kind(kinds_[lead]);
        u32 point;
        if (lead < 0xe0) {
            size = 2;
            point = (lead & 0x1f) << 6 | (p[1] & 0x3f);
        } else if (lead < 0xf0) {
            size = 3;
            point = (lead & 0x0f) << 12 | (p[1] & 0x3f) << 6 | (p[2] & 0x3f);
        } else {
            size = 4;
            point = (lead & 7) << 18 | (p[1] & 0x3f) << 12 | (p[2] & 0x3f) << 6 | (p[3] & 0x3f);
        }
        return Kind(kinds_[point]);
    }
    const u8* run(const u8* p, const u8* end, Kind kind) const {
        size_t size;
        while (p < end && kind_at(p, size) == kind) p += size;
        return p;
    }
    static const u8* newlines(const u8* p, const u8* end) {
        while (p < end && (*p == '\n' || *p == '\r')) p++;
        return p;
    }
    // (?i:'s|'t|'re|'ve|'m|'ll|'d) behind its apostrophe; the long s counts as an s.
    static const u8* contraction(const u8* p, const u8* end) {
        if (p >= end) return nullptr;
        const u8 first = *p | 0x20;
        if (first == 's' || first == 't' || first == 'm' || first == 'd') return p + 1;
        if (end - p < 2) return nullptr;
        const u8 second = p[1] | 0x20;
        if (second == 'e' && (first == 'r' || first == 'v')) return p + 2;
        if (first == 'l' && second == 'l') return p + 2;
        return p[0] == 0xc5 && p[1] == 0xbf ? p + 2 : nullptr;
    }
    // \s*[\r\n]+|\s+(?!\S)|\s+
    const u8* space(const u8* p, const u8* end) const {
        const u8 *at = p, *last = p, *newline = nullptr;
        for (size_t size; at < end; at += size) {
            const Kind kind = kind_at(at, size);
            if (kind != SPACE && kind != NEWLINE) break;
            last = at;
            if (kind == NEWLINE) newline = at + 1;
        }
        if (newline) return newline;
        return at == end || last == p ? at : last;
    }

    std::vector<u8> kinds_;
    size_t digits_;
};

class Encoder {
  public:
    Encoder(const Given& given, const u8* kinds, size_t digits)
        : tokens_(given), ranks_(tokens_, given), splitter_(kinds, digits) {}
    Encoder(const Encoder&) = delete;

    const Tokens& tokens() const { return tokens_; }

    // Writes at most `size` ids.
    u32* encode(const u8* p, size_t size, u32* out, Bench& bench) const {
        for (const u8* end = p + size; p < end;) {
            const u8* after = splitter_.piece(p, end);
            out = encode_piece(p, after - p, end, out, bench);
            p = after;
        }
        return out;
    }

    std::unique_ptr<Bench> take() {
        std::lock_guard<std::mutex> lock(mutex_);
        if (free_.empty()) return std::make_unique<Bench>();
        auto bench = std::move(free_.back());
        free_.pop_back();
        return bench;
    }
    void give(std::unique_ptr<Bench> bench) {
        std::lock_guard<std::mutex> lock(mutex_);
        free_.push_back(std::move(bench));
    }

  private:
    u32* encode_piece(const u8* p, size_t size, const u8* end, u32* out, Bench& bench) const {
        if (size == 1) return *out = ranks_.single(*p), out + 1;
        const u64 key = key_of(p, size, end);
        if (const u32 id = ranks_.find(p, size, key); id != NONE) return *out = id, out + 1;
        if (size > KEPT_BYTES) {
            return size < HEAP_FROM ? merge(p, size, end, out)
                                    : merge_long(p, size, end, out, bench);
        }
        const u64 low = load(p, std::min<size_t>(size, 8), end);
        const u64 high = size > 8 ? load(p + 8, size - 8, end) : 0;
        Kept& kept = bench.kept[mix(key) >> 8 & (KEPT_PIECES - 1)];
        if (kept.low != low || kept.high != high || kept.size != size) {
            u32* last = merge(p, size, end, out);
            const size_t count = last - out;
            if (count <= KEPT_TOKENS) {
                kept.low = low, kept.high = high, kept.size = u8(size), kept.count = u8(count);
                std::memcpy(kept.ids, out, count * sizeof(u32));
            }
            return last;
        }
        std::memcpy(out, kept.ids, kept.count * sizeof(u32));
        return out + kept.count;
    }

    // The best merge first, the left one of equals. keys[i] is the rank of the token at byte i
    // joined with its neighbour, above the place i itself: the least key is the next merge.
    u32* merge(const u8* p, size_t size, const u8* end, u32* out) const {
        constexpr size_t LANES = 16;
        alignas(64) u32 keys[HEAP_FROM + LANES];
        u32 ids[HEAP_FROM];
        u8 nexts[HEAP_FROM + 1], befores[HEAP_FROM + 1];
        const size_t padded = (size + LANES - 1) / LANES * LANES;
        for (size_t i = 0; i < size; i++) {
            ids[i] = ranks_.single(p[i]);
            nexts[i] = u8(i + 1);
            befores[i + 1] = u8(i);
            const u32 rank = i + 1 < size ? ranks_.pair(p + i) : NONE;
            keys[i] = rank == NONE ? NONE : rank << 8 | u32(i);
        }
        std::fill(keys + size, keys + padded, NONE);
        auto renew = [&](size_t at) {
            const size_t middle = nexts[at];
            const u32 rank = middle < size ? ranks_.find(p + at, nexts[middle] - at, end) : NONE;
            keys[at] = rank == NONE ? NONE : rank << 8 | u32(at);
        };
        for (;;) {
            u32 lanes[LANES];
            std::memcpy(lanes, keys, sizeof lanes);
            for (size_t i = LANES; i < padded; i += LANES)
                for (size_t j = 0; j < LANES; j++) lanes[j] = std::min(lanes[j], keys[i + j]);
            u32 best = NONE;
            for (size_t j = 0; j < LANES; j++) best = std::min(best, lanes[j]);
            if (best == NONE) break;
            const size_t at = best & 0xff, middle = nexts[at], after = nexts[middle];
            ids[at] = best >> 8;
            nexts[at] = u8(after);
            befores[after] = u8(at);
            keys[middle] = NONE;
            renew(at);
            if (at) renew(befores[at]);
        }
        for (size_t at = 0; at < size; at = nexts[at]) *out++ = ids[at];
        return out;
    }

    // The same with a heap; entries that a later merge outdated are passed over.
    u32* merge_long(const u8* p, size_t size, const u8* end, u32* out, Bench& bench) const {
        auto &nexts = bench.nexts, &befores = bench.befores, &ranks = bench.ranks;
        nexts.resize(size + 1);
        befores.resize(size + 1);
        ranks.assign(size + 1, NONE);
        std::vector<u64> first;
        for (size_t i = 0; i < size; i++) {
            nexts[i] = u32(i + 1);
            befores[i + 1] = u32(i);
            if (i + 1 < size && (ranks[i] = ranks_.find(p + i, 2, end)) != NONE)
                first.push_back(u64(ranks[i]) << 32 | i);
        }
        std::priority_queue<u64, std::vector<u64>, std::greater<u64>> heap({}, std::move(first));
        auto renew = [&](u32 at) {
            const u32 middle = nexts[at];
            ranks[at] = middle < size ? ranks_.find(p + at, nexts[middle] - at, end) : NONE;
            if (ranks[at] != NONE) heap.push(u64(ranks[at]) << 32 | at);
        };
        while (!heap.empty()) {
            const u32 at = u32(heap.top()), rank = u32(heap.top() >> 32);
            heap.pop();
            if (ranks[at] != rank) continue;
            const u32 middle = nexts[at];
            nexts[at] = nexts[middle];
            befores[nexts[middle]] = at;
            ranks[middle] = NONE;
            renew(at);
            if (at) renew(befores[at]);
        }
        for (u32 at = 0; at < size; at = nexts[at]) *out++ = whole(p, at, nexts[at], end);
        return out;
    }

    u32 whole(const u8* p, u32 from, u32 to, const u8* end) const {
        return to - from == 1 ? ranks_.single(p[from]) : ranks_.find(p + from, to - from, end);
    }

    Tokens tokens_;
    Ranks ranks_;
    Splitter splitter_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<Bench>> free_;
};

}  // namespace bpe
