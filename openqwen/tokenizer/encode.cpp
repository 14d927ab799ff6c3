// The encoder of bpe.h for Python: strings in, lists of ids out.
//
// Called through ctypes.PyDLL with the interpreter's lock held; let go while texts are encoded. The
// few functions of Python's stable interface are declared here, so that its headers are not needed.

#include <atomic>
#include <exception>
#include <new>
#include <string>
#include <thread>

#include "bpe.h"

extern "C" {
struct PyObject;
extern PyObject* PyExc_KeyError;
const char* PyUnicode_AsUTF8AndSize(PyObject*, ssize_t*);
PyObject* PyBytes_FromStringAndSize(const char*, ssize_t);
PyObject* PyList_New(ssize_t);
int PyList_SetItem(PyObject*, ssize_t, PyObject*);
PyObject* PyList_GetItem(PyObject*, ssize_t);
ssize_t PyList_Size(PyObject*);
PyObject* PyLong_FromLong(long);
long PyLong_AsLong(PyObject*);
PyObject* PyErr_Occurred();
PyObject* PyErr_NoMemory();
void PyErr_SetObject(PyObject*, PyObject*);
void* PyEval_SaveThread();
void PyEval_RestoreThread(void*);
void Py_IncRef(PyObject*);
void Py_DecRef(PyObject*);
}

namespace {

using bpe::u32;
using bpe::u64;
using bpe::u8;

constexpr size_t UNLOCK_FROM = 4096;     // bytes of text that are worth letting the lock go
constexpr size_t THREAD_BYTES = 32768;   // of text that are worth another thread

struct Text {
    const u8* bytes;
    size_t size;
};

// The interpreter's lock, let go for as long as this lives.
class Unlocked {
  public:
    explicit Unlocked(bool really) : state_(really ? PyEval_SaveThread() : nullptr) {}
    ~Unlocked() {
        if (state_) PyEval_RestoreThread(state_);
    }

  private:
    void* state_;
};

class PythonEncoder {
  public:
    PythonEncoder(const bpe::Given& given, const u8* kinds, size_t digits)
        : encoder_(given, kinds, digits), numbers_(encoder_.tokens().num_ids()) {}
    ~PythonEncoder() {
        for (PyObject* number : numbers_)
            if (number) Py_DecRef(number);
    }

    PyObject* encode(PyObject* string) {
        const Text text = utf8(string);
        if (!text.bytes) return nullptr;
        u32 buffer[UNLOCK_FROM];
        if (text.size <= UNLOCK_FROM) {
            auto bench = encoder_.take();
            const u32* last = encoder_.encode(text.bytes, text.size, buffer, *bench);
            encoder_.give(std::move(bench));
            return list(buffer, last - buffer);
        }
        std::unique_ptr<u32[]> ids(new u32[text.size]);
        size_t count;
        {
            Unlocked unlocked(true);
            auto bench = encoder_.take();
            count = encoder_.encode(text.bytes, text.size, ids.get(), *bench) - ids.get();
            encoder_.give(std::move(bench));
        }
        return list(ids.get(), count);
    }

    PyObject* encode_batch(PyObject* strings, size_t threads) {
        std::vector<Text> texts(PyList_Size(strings));
        std::vector<size_t> starts(texts.size()), counts(texts.size());
        size_t total = 0;
        for (size_t i = 0; i < texts.size(); total += texts[i++].size) {
            texts[i] = utf8(PyList_GetItem(strings, i));
            if (!texts[i].bytes) return nullptr;
            starts[i] = total;
        }
        std::unique_ptr<u32[]> ids(new u32[total]);
        {
            Unlocked unlocked(total > UNLOCK_FROM);
            std::atomic<size_t> next{0};
            auto work = [&] {
                auto bench = encoder_.take();
                for (size_t i; (i = next++) < texts.size();) {
                    u32* from = ids.get() + starts[i];
                    counts[i] = encoder_.encode(texts[i].bytes, texts[i].size, from, *bench) - from;
                }
                encoder_.give(std::move(bench));
            };
            threads = std::min({threads, texts.size(), 1 + total / THREAD_BYTES});
            std::vector<std::thread> helpers;
            for (size_t i = 1; i < threads; i++) helpers.emplace_back(work);
            work();
            for (auto& helper : helpers) helper.join();
        }
        PyObject* lists = PyList_New(texts.size());
        for (size_t i = 0; lists && i < texts.size(); i++) {
            PyObject* one = list(ids.get() + starts[i], counts[i]);
            if (!one) return Py_DecRef(lists), nullptr;
            PyList_SetItem(lists, i, one);
        }
        return lists;
    }

    // The bytes of a list of ids; a KeyError where one has no token.
    PyObject* decode(PyObject* ids) const {
        const bpe::Tokens& tokens = encoder_.tokens();
        std::string bytes;
        const size_t count = PyList_Size(ids);
        bytes.reserve(4 * count);
        for (size_t i = 0; i < count; i++) {
            PyObject* number = PyList_GetItem(ids, i);
            const long id = PyLong_AsLong(number);
            if (id == -1 && PyErr_Occurred()) return nullptr;
            if (!tokens.has(id)) return PyErr_SetObject(PyExc_KeyError, number), nullptr;
            bytes.append(reinterpret_cast<const char*>(tokens.bytes(id)), tokens.size(id));
        }
        return PyBytes_FromStringAndSize(bytes.data(), bytes.size());
    }

  private:
    static Text utf8(PyObject* string) {
        ssize_t size = 0;
        const char* bytes = PyUnicode_AsUTF8AndSize(string, &size);
        return {reinterpret_cast<const u8*>(bytes), size_t(size)};
    }

    // Equal ids are one Python number: no memory for each, and no time.
    PyObject* list(const u32* ids, size_t count) {
        PyObject* made = PyList_New(count);
        if (!made) return nullptr;
        for (size_t i = 0; i < count; i++) {
            PyObject*& number = numbers_[ids[i]];
            if (!number && !(number = PyLong_FromLong(ids[i]))) return Py_DecRef(made), nullptr;
            Py_IncRef(number);
            PyList_SetItem(made, i, number);
        }
        return made;
    }

    bpe::Encoder encoder_;
    std::vector<PyObject*> numbers_;
};

// Whatever goes wrong in C++ here is a lack of memory.
template <class Work>
PyObject* guarded(Work work) {
    try {
        return work();
    } catch (const std::exception&) {
        return PyErr_NoMemory();
    }
}

}  // namespace

extern "C" {

void* openqwen_encoder(const u8* bytes, const u32* sizes, const u32* ids, size_t num_ranks,
                       size_t num_tokens, const u8* kinds, size_t digits) {
    return new PythonEncoder({bytes, sizes, ids, num_ranks, num_tokens}, kinds, digits);
}

void openqwen_encoder_free(void* encoder) { delete static_cast<PythonEncoder*>(encoder); }

PyObject* openqwen_encode(void* encoder, PyObject* string) {
    return guarded([&] { return static_cast<PythonEncoder*>(encoder)->encode(string); });
}

PyObject* openqwen_encode_batch(void* encoder, PyObject* strings, size_t threads) {
    return guarded([&] { return static_cast<PythonEncoder*>(encoder)->encode_batch(strings, threads); });
}

PyObject* openqwen_decode(void* encoder, PyObject* ids) {
    return guarded([&] { return static_cast<PythonEncoder*>(encoder)->decode(ids); });
}
}
