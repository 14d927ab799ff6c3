// Counting distinct pieces of text, and byte-level BPE continued from given ranks.
//
// Both are exact and their results do not depend on threads or on the order of the input. The same
// steps in Python are extend_slow.py; a test holds the two together.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <queue>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

namespace {

using u8 = uint8_t;
using u32 = uint32_t;
using u64 = uint64_t;
using i64 = int64_t;

enum Kind : u8 { OTHER = 0, LETTER = 1, NUMBER = 2, SPACE = 3, NEWLINE = 4 };

constexpr size_t MAX_PIECE = 512;   // bytes; longer pieces are cut at a character
constexpr size_t SHORT_PIECE = 16;  // bytes; these are sampled only after all longer ones
constexpr int SHORT_LEVEL = 12;     // halvings of the longer pieces before that
constexpr int NUM_SHARDS = 64;
constexpr size_t ENTRY_BYTES = 48;  // of a table for one piece beside its bytes

u64 mix(u64 x) {
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9ULL;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

u64 hash_bytes(const u8* data, size_t size, u64 seed) {
    u64 h = mix(seed + 0x9e3779b97f4a7c15ULL) ^ size;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        u64 word;
        std::memcpy(&word, data + i, 8);
        h = mix(h ^ word) * 0x9e3779b97f4a7c15ULL;
    }
    u64 rest = 0;
    for (int shift = 0; i < size; i++, shift += 8) rest |= u64(data[i]) << shift;
    return mix(h ^ rest);
}

// ---- Qwen's split pattern ----------------------------------------------------------------------

struct Text {
    const u8* data;
    size_t size;
    const u8* kinds;  // of each code point

    // The code point at `at` and the place behind it; valid UTF-8 is the caller's duty.
    u32 read(size_t at, size_t& behind) const {
        u32 c = data[at];
        if (c < 0x80) {
            behind = at + 1;
            return c;
        }
        size_t more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
        behind = std::min(at + more + 1, size);
        if (behind < at + more + 1) return 0xfffd;  // a token may end within a character
        c &= 0x3f >> more;
        for (size_t i = 1; i <= more; i++) c = c << 6 | (data[at + i] & 0x3f);
        return c < 0x110000 ? c : 0xfffd;
    }
    Kind kind(size_t at, size_t& behind) const { return Kind(kinds[read(at, behind)]); }

    // End of 's 't 're 've 'm 'll 'd in either case at `at`, or `at`.
    size_t contraction(size_t at) const {
        if (data[at] != '\'' || at + 1 >= size) return at;
        if (at + 2 < size && data[at + 1] == 0xc5 && data[at + 2] == 0xbf) return at + 3;  // long s
        char a = char(data[at + 1] | 0x20);
        if (a == 's' || a == 't' || a == 'm' || a == 'd') return at + 2;
        if (at + 2 >= size) return at;
        char b = char(data[at + 2] | 0x20);
        bool two = (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l');
        return two ? at + 3 : at;
    }

    size_t run(size_t at, Kind wanted) const {
        size_t behind;
        while (at < size && kind(at, behind) == wanted) at = behind;
        return at;
    }

    // End of the piece that begins at `at`; the alternatives in the pattern's order.
    size_t piece(size_t at) const {
        size_t behind, end = contraction(at);
        if (end > at) return end;
        Kind first = kind(at, behind);
        if (first == LETTER) return run(behind, LETTER);
        if (first == NUMBER) return behind;
        if (first != NEWLINE) {
            end = run(behind, LETTER);  // one sign before a word belongs to it
            if (end > behind) return end;
        }
        size_t signs = first == OTHER ? at : data[at] == ' ' ? behind : size;
        end = run(signs, OTHER);
        if (end > signs) return run(end, NEWLINE);
        size_t last = at, after_newline = at, place = at;  // white space
        while (place < size) {
            Kind k = kind(place, behind);
            if (k != SPACE && k != NEWLINE) break;
            last = place;
            place = behind;
            if (k == NEWLINE) after_newline = behind;
        }
        if (after_newline > at) return after_newline;
        return place < size && last > at ? last : place;  // the last space goes with what follows
    }
};

template <class Visit>
void each_piece(const Text& text, Visit visit) {
    for (size_t at = 0; at < text.size;) {
        size_t end = text.piece(at);
        while (end - at > MAX_PIECE) {
            size_t cut = at + MAX_PIECE;
            while (cut > at && (text.data[cut] & 0xc0) == 0x80) cut--;
            visit(text.data + at, cut - at);
            at = cut;
        }
        visit(text.data + at, end - at);
        at = end;
    }
}

// ---- counting ----------------------------------------------------------------------------------

struct Entry {
    u64 hash, count, start;
    u32 size, group;
};

bool is_kept(u64 hash, size_t size, int level) {
    int halvings = size > SHORT_PIECE ? level : std::max(0, level - SHORT_LEVEL);
    return (hash >> 32 & ((u64(1) << halvings) - 1)) == 0;
}

// A part of the table. What it holds in the end depends on what was added, not on the order.
struct Shard {
    std::mutex lock;
    std::vector<u32> slots = std::vector<u32>(1024, 0);  // 1-based places in `entries`
    std::vector<Entry> entries;
    std::vector<u8> bytes;
    int level = 0;

    void add(u64 hash, u32 group, const u8* data, size_t size, u64 count, size_t limit) {
        if (!is_kept(hash, size, level)) return;
        size_t slot = hash & (slots.size() - 1);
        while (u32 found = slots[slot]) {
            Entry& e = entries[found - 1];
            if (e.hash == hash && e.group == group && e.size == size &&
                !std::memcmp(&bytes[e.start], data, size)) {
                e.count += count;
                return;
            }
            slot = (slot + 1) & (slots.size() - 1);
        }
        entries.push_back({hash, count, bytes.size(), u32(size), group});
        bytes.insert(bytes.end(), data, data + size);
        slots[slot] = u32(entries.size());
        while (bytes.size() + entries.size() * ENTRY_BYTES > limit && level < 28) {
            level++;
            shrink();
        }
        if (entries.size() * 2 > slots.size()) place(slots.size() * 2);
    }

    void shrink() {
        std::vector<Entry> kept;
        std::vector<u8> text;
        for (const Entry& e : entries) {
            if (!is_kept(e.hash, e.size, level)) continue;
            kept.push_back(e);
            kept.back().start = text.size();
            text.insert(text.end(), bytes.begin() + e.start, bytes.begin() + e.start + e.size);
        }
        entries.swap(kept);
        bytes.swap(text);
        place(slots.size());
    }

    void place(size_t size) {
        slots.assign(size, 0);
        for (size_t i = 0; i < entries.size(); i++) {
            size_t slot = entries[i].hash & (size - 1);
            while (slots[slot]) slot = (slot + 1) & (size - 1);
            slots[slot] = u32(i + 1);
        }
    }
};

struct Counter {
    std::vector<u8> kinds;
    size_t shard_limit;
    Shard shards[NUM_SHARDS];
};

// ---- merging -----------------------------------------------------------------------------------

// Open addressing from a pair of ids to a place in a list.
struct PairMap {
    std::vector<u64> keys = std::vector<u64>(1 << 16, EMPTY);
    std::vector<u32> values = std::vector<u32>(1 << 16);
    size_t used = 0;
    static constexpr u64 EMPTY = ~u64(0);

    u32 find(u64 key, u32 otherwise) const {
        size_t slot = mix(key) & (keys.size() - 1);
        while (keys[slot] != EMPTY) {
            if (keys[slot] == key) return values[slot];
            slot = (slot + 1) & (keys.size() - 1);
        }
        return otherwise;
    }
    void set(u64 key, u32 value) {
        if ((used + 1) * 2 > keys.size()) grow();
        size_t slot = mix(key) & (keys.size() - 1);
        while (keys[slot] != EMPTY) slot = (slot + 1) & (keys.size() - 1);
        keys[slot] = key;
        values[slot] = value;
        used++;
    }
    void grow() {
        std::vector<u64> old_keys(keys.size() * 2, EMPTY);
        std::vector<u32> old_values(values.size() * 2);
        keys.swap(old_keys);
        values.swap(old_values);
        used = 0;
        for (size_t i = 0; i < old_keys.size(); i++)
            if (old_keys[i] != EMPTY) set(old_keys[i], old_values[i]);
    }
};

u64 pair_key(u32 a, u32 b) { return u64(a) << 32 | b; }

constexpr u32 NONE = ~u32(0);

struct Pair {
    u32 left, right;
    u32 made = NONE;  // the token that this pair's bytes are already
    i64 weight = 0, count = 0;
    std::vector<u32> places;
};

// The first in the queue: pairs whose bytes are a token, lowest rank first; then by weight.
struct Waiting {
    i64 weight;
    u32 made, left, right, place;
    bool operator<(const Waiting& o) const {
        bool mine = made != NONE, other = o.made != NONE;
        if (mine != other) return other;
        if (mine && made != o.made) return made > o.made;
        if (!mine && weight != o.weight) return weight < o.weight;
        return left != o.left ? left > o.left : right > o.right;
    }
};

struct Trainer {
    std::vector<std::string> tokens;
    std::unordered_map<std::string, u32> ids;
    PairMap ranks;  // base tokens by their halves, for encoding
    std::vector<u32> token, next, prev, owner;
    std::vector<Pair> pairs;
    PairMap places;
    std::priority_queue<Waiting> queue;
    const i64 *weights, *counts;
    const u8* scripts;  // of each code point: 1 without gaps between words, 2 Han, else 0
    i64 max_characters, max_ungapped, max_han;

    void learn(const std::string& bytes) {
        u32 id = u32(tokens.size());
        tokens.push_back(bytes);
        ids.emplace(bytes, id);
    }

    void index_ranks() {
        for (u32 id = 0; id < tokens.size(); id++)
            for (size_t cut = 1; cut < tokens[id].size(); cut++) {
                auto a = ids.find(tokens[id].substr(0, cut));
                auto b = ids.find(tokens[id].substr(cut));
                if (a != ids.end() && b != ids.end())
                    ranks.set(pair_key(a->second, b->second), id);
            }
    }

    // Ids of a piece: itself, or again and again the pair of lowest rank, the leftmost of equals.
    void encode(const u8* data, size_t size, std::vector<u32>& out, std::vector<u32>& joined) const {
        out.clear();
        auto whole = ids.find(std::string(reinterpret_cast<const char*>(data), size));
        if (whole != ids.end()) {
            out.push_back(whole->second);
            return;
        }
        for (size_t i = 0; i < size; i++)
            out.push_back(ids.find(std::string(1, char(data[i])))->second);
        joined.clear();
        for (size_t i = 0; i + 1 < size; i++)
            joined.push_back(ranks.find(pair_key(out[i], out[i + 1]), NONE));
        while (!joined.empty()) {
            size_t best = std::min_element(joined.begin(), joined.end()) - joined.begin();
            if (joined[best] == NONE) return;
            out[best] = joined[best];
            out.erase(out.begin() + best + 1);
            joined.erase(joined.begin() + best);
            if (best > 0) joined[best - 1] = ranks.find(pair_key(out[best - 1], out[best]), NONE);
            if (best < joined.size())
                joined[best] = ranks.find(pair_key(out[best], out[best + 1]), NONE);
        }
    }

    void encode_all(const u8* bytes, const u64* starts, size_t n, int threads) {
        std::vector<std::vector<u32>> parts(threads), lengths(threads);
        std::vector<std::thread> pool;
        for (int t = 0; t < threads; t++)
            pool.emplace_back([&, t] {
                std::vector<u32> out, joined;
                for (size_t i = n * t / threads; i < n * (t + 1) / threads; i++) {
                    encode(bytes + starts[i], starts[i + 1] - starts[i], out, joined);
                    parts[t].insert(parts[t].end(), out.begin(), out.end());
                    lengths[t].push_back(u32(out.size()));
                }
            });
        for (auto& thread : pool) thread.join();
        u32 piece = 0;
        for (int t = 0; t < threads; t++) {
            size_t at = 0;
            for (u32 length : lengths[t]) {
                for (u32 i = 0; length > 1 && i < length; i++) {  // single tokens have no pair
                    u32 place = u32(token.size());
                    token.push_back(parts[t][at + i]);
                    owner.push_back(piece);
                    prev.push_back(i ? place - 1 : NONE);
                    next.push_back(i + 1 < length ? place + 1 : NONE);
                }
                at += length;
                piece++;
            }
            std::vector<u32>().swap(parts[t]);
        }
    }

    // Equal bytes are never cut in two ways, unless a neighbour took one end: a pair is the only one
    // to make its token. Only tokens of the base that no merge makes can come up again as a pair.
    Pair& pair_of(u32 a, u32 b) {
        u32 at = places.find(pair_key(a, b), NONE);
        if (at != NONE) return pairs[at];
        places.set(pair_key(a, b), u32(pairs.size()));
        pairs.push_back({a, b});
        auto known = ids.find(tokens[a] + tokens[b]);
        if (known != ids.end()) pairs.back().made = known->second;
        return pairs.back();
    }

    void add(u32 place, std::vector<u64>* touched) {
        Pair& pair = pair_of(token[place], token[next[place]]);
        pair.weight += weights[owner[place]];
        pair.count += counts[owner[place]];
        pair.places.push_back(place);
        if (touched) touched->push_back(pair_key(pair.left, pair.right));
    }

    void remove(u32 place) {
        Pair& pair = pair_of(token[place], token[next[place]]);
        pair.weight -= weights[owner[place]];
        pair.count -= counts[owner[place]];
    }

    void wait(u32 at) {
        const Pair& p = pairs[at];
        if (p.count > 0) queue.push({p.weight, p.made, p.left, p.right, at});
    }

    bool fits(const std::string& bytes) const {
        Text text{reinterpret_cast<const u8*>(bytes.data()), bytes.size(), scripts};
        i64 characters = 0, ungapped = 0, han = 0;
        for (size_t at = 0, behind; at < text.size; at = behind) {
            bool tail = (text.data[at] & 0xc0) == 0x80;  // of a character cut off on the left
            if (tail) {
                behind = at + 1;
                continue;
            }
            u8 script = scripts[text.read(at, behind)];
            ungapped += script > 0;
            han += script == 2;
            characters++;
        }
        return characters <= max_characters && ungapped <= max_ungapped && han <= max_han;
    }

    void merge(u32 at, u32 made) {
        u32 left = pairs[at].left, right = pairs[at].right;
        std::vector<u32> found;
        found.swap(pairs[at].places);
        if (!std::is_sorted(found.begin(), found.end())) std::sort(found.begin(), found.end());
        std::vector<u64> touched;
        for (u32 place : found) {
            u32 second = next[place];
            if (token[place] != left || second == NONE || token[second] != right) continue;
            u32 before = prev[place], after = next[second];
            remove(place);
            if (before != NONE) remove(before);
            if (after != NONE) remove(second);
            token[place] = made;
            token[second] = NONE;
            next[place] = after;
            if (after != NONE) prev[after] = place;
            if (before != NONE) add(before, &touched);
            if (after != NONE) add(place, &touched);
        }
        std::sort(touched.begin(), touched.end());
        touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
        for (u64 key : touched) wait(places.find(key, NONE));
    }
};

}  // namespace

extern "C" {

void* openqwen_counter_new(const u8* kinds, u64 limit_bytes) {
    auto* counter = new Counter;
    counter->kinds.assign(kinds, kinds + 0x110000);
    counter->shard_limit = std::max<u64>(limit_bytes / NUM_SHARDS, 1);
    return counter;
}

void openqwen_counter_free(void* handle) { delete static_cast<Counter*>(handle); }

// Count the pieces of one text `count` times; may be called from several threads at once.
void openqwen_counter_add(void* handle, u32 group, const u8* data, u64 size, u64 count) {
    auto& counter = *static_cast<Counter*>(handle);
    each_piece({data, size, counter.kinds.data()}, [&](const u8* piece, size_t length) {
        u64 hash = hash_bytes(piece, length, group);
        Shard& shard = counter.shards[hash >> 58];
        std::lock_guard<std::mutex> guard(shard.lock);
        shard.add(hash, group, piece, length, count, counter.shard_limit);
    });
}

void openqwen_counter_sizes(void* handle, u64* pieces, u64* bytes) {
    *pieces = *bytes = 0;
    for (auto& shard : static_cast<Counter*>(handle)->shards) {
        *pieces += shard.entries.size();
        *bytes += shard.bytes.size();
    }
}

// Fill the arrays: all pieces' bytes, where each begins (one more than pieces), group, count and by
// how many halvings it was sampled; each piece stands for two to that power.
void openqwen_counter_export(void* handle, u8* bytes, u64* starts, u32* groups, i64* counts,
                             u8* halvings) {
    u64 at = 0, place = 0;
    for (auto& shard : static_cast<Counter*>(handle)->shards)
        for (const Entry& e : shard.entries) {
            std::memcpy(bytes + at, &shard.bytes[e.start], e.size);
            starts[place] = at;
            groups[place] = e.group;
            counts[place] = i64(e.count);
            halvings[place] =
                u8(e.size > SHORT_PIECE ? shard.level : std::max(0, shard.level - SHORT_LEVEL));
            at += e.size;
            place++;
        }
    starts[place] = at;
}

// Ends of the pieces of one text, for tests; returns how many.
u64 openqwen_pieces(const u8* kinds, const u8* data, u64 size, u64* ends) {
    u64 n = 0;
    each_piece({data, size, kinds}, [&](const u8* piece, size_t length) {
        ends[n++] = u64(piece - data) + length;
    });
    return n;
}

// Learn up to `wanted` tokens behind the base; returns how many, with both halves of each and how
// often it was seen; -1 where there are more than 2^32 tokens of text.
i64 openqwen_extend(const u8* bytes, const u64* starts, u64 n, const i64* weights,
                    const i64* counts, const u8* base, const u64* base_starts, u64 n_base,
                    i64 wanted, i64 min_count, i64 max_characters, i64 max_ungapped,
                    i64 max_han, const u8* scripts, int threads, u32* left, u32* right, i64* seen) {
    if (starts[n] >= NONE) return -1;
    Trainer t;
    t.weights = weights;
    t.counts = counts;
    t.scripts = scripts;
    t.max_characters = max_characters;
    t.max_ungapped = max_ungapped;
    t.max_han = max_han;
    t.ids.reserve((n_base + wanted) * 2);
    for (u64 i = 0; i < n_base; i++)
        t.learn(std::string(reinterpret_cast<const char*>(base + base_starts[i]),
                            base_starts[i + 1] - base_starts[i]));
    t.index_ranks();
    t.encode_all(bytes, starts, n, std::max(1, threads));
    for (u32 place = 0; place < t.token.size(); place++)
        if (t.next[place] != NONE) t.add(place, nullptr);
    for (u32 at = 0; at < t.pairs.size(); at++) t.wait(at);
    i64 made = 0;
    while (made < wanted && !t.queue.empty()) {
        Waiting top = t.queue.top();
        t.queue.pop();
        Pair& pair = t.pairs[top.place];
        if (pair.made != top.made || (pair.made == NONE && pair.weight != top.weight)) {
            // an older state of a pair whose newer one waits too, or which lost occurrences
            if (pair.made == NONE && pair.weight < top.weight) t.wait(top.place);
            continue;
        }
        if (pair.count <= 0) continue;
        if (pair.made != NONE) {
            t.merge(top.place, pair.made);
            continue;
        }
        if (pair.count < min_count) continue;
        std::string whole = t.tokens[top.left] + t.tokens[top.right];
        if (!t.fits(whole)) continue;
        u32 id = u32(t.tokens.size());
        pair.made = id;
        left[made] = top.left;
        right[made] = top.right;
        seen[made++] = pair.count;
        t.learn(whole);
        t.merge(top.place, id);
    }
    return made;
}
}
