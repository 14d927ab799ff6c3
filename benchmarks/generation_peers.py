"""The peers of generation_speed.py, each in a process and an environment of its own.

    PEER_PYTHON generation_peers.py --peer llama.cpp --model model-q8_0.gguf --threads 2

Imports nothing of openqwen. A question names token ids, so that all read the same; the ids change
from round to round and no peer may keep a prompt's cache. Decoding is greedy and never ends early;
its time starts when the prompts have been read. Every peer runs at its fastest sensible setting
found: flash attention and repacked weights in llama.cpp, paged attention and 8-bit KV in OpenVINO,
a bare loop around the model (faster than `generate`) in transformers.
"""

import argparse
import threading
import time
from importlib.metadata import version

from turns import serve

MAX_PROMPT, MAX_NEW, MAX_SEQUENCES = 2048, 64, 8


class LlamaCpp:
    """llama.cpp through the C functions that llama-cpp-python binds; built for this processor."""

    def __init__(self, path, threads):
        import llama_cpp as library

        self.library = library
        self.silence = library.llama_log_callback(lambda *_: None)  # kept alive
        library.llama_log_set(self.silence, None)
        library.llama_backend_init()
        self.model = library.llama_model_load_from_file(
            path.encode(), library.llama_model_default_params()
        )
        vocab = library.llama_model_get_vocab(self.model)
        self.vocab_size = library.llama_vocab_n_tokens(vocab)
        self.one = self.context(MAX_PROMPT + MAX_NEW, 1, threads)
        self.eight = self.context(MAX_SEQUENCES * 256, MAX_SEQUENCES, threads)
        self.batch = library.llama_batch_init(MAX_PROMPT, 0, 1)
        self.versions = {
            "llama-cpp-python": version("llama-cpp-python"),
            "system": library.llama_print_system_info().decode().strip(" |"),
        }

    def context(self, tokens, sequences, threads):
        settings = self.library.llama_context_default_params()
        settings.n_ctx, settings.n_seq_max = tokens, sequences
        settings.n_batch, settings.n_ubatch = MAX_PROMPT, 512
        settings.n_threads = settings.n_threads_batch = threads
        settings.flash_attn_type = self.library.LLAMA_FLASH_ATTN_TYPE_ENABLED
        settings.no_perf = True
        return self.library.llama_init_from_model(self.model, settings)

    def feed(self, context, rows, positions):
        """Decode rows of new tokens, one a sequence; return each one's likeliest next token."""
        import numpy

        batch, place, last = self.batch, 0, []
        for sequence, row in enumerate(rows):
            for i, token in enumerate(row):
                batch.token[place], batch.pos[place] = token, positions[sequence] + i
                batch.n_seq_id[place], batch.seq_id[place][0] = 1, sequence
                batch.logits[place] = i == len(row) - 1
                place += 1
            last.append(place - 1)
        batch.n_tokens = place
        if self.library.llama_decode(context, batch):
            raise SystemExit("llama_decode refused the batch")
        return [
            int(
                numpy.ctypeslib.as_array(
                    self.library.llama_get_logits_ith(context, i), (self.vocab_size,)
                ).argmax()
            )
            for i in last
        ]

    def empty(self, prompts):
        context = self.one if len(prompts) == 1 else self.eight
        self.library.llama_memory_clear(self.library.llama_get_memory(context), True)
        return context

    def prefill(self, prompts):
        context = self.empty(prompts)
        start = time.perf_counter()
        self.feed(context, prompts, [0] * len(prompts))
        return time.perf_counter() - start, None

    def decode(self, prompts, count):
        context = self.empty(prompts)
        places = [len(p) for p in prompts]
        tokens = self.feed(context, prompts, [0] * len(prompts))
        found = []
        start = time.perf_counter()
        for _ in range(count):
            found.append(tokens[0])
            tokens = self.feed(context, [[t] for t in tokens], places)
            places = [p + 1 for p in places]
        return time.perf_counter() - start, found


class XLlamaCpp:
    """llama.cpp's own server engine in the PyPI wheel xllamacpp, as it is (built for AVX2)."""

    def __init__(self, path, threads):
        import xllamacpp as library

        settings = library.CommonParams()
        settings.model.path = path
        settings.n_ctx = MAX_SEQUENCES * (MAX_PROMPT + 2 * MAX_NEW)
        settings.n_parallel = MAX_SEQUENCES
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
        settings.n_batch, settings.n_ubatch = MAX_PROMPT, 512
        settings.cache_prompt, settings.cache_ram_mib = False, 0
        settings.verbosity = -1
        self.server = library.Server(settings)
        self.versions = {
            "xllamacpp": version("xllamacpp"),
            "system": library.get_system_info().strip(" |"),
        }

    def complete(self, ids, count):
        question = {"prompt": ids, "n_predict": count, "cache_prompt": False}
        greedy = {"ignore_eos": True, "temperature": 0, "samplers": ["top_k"], "top_k": 1}
        answer = self.server.handle_completions(question | greedy)
        if "timings" not in answer:
            raise SystemExit(f"xllamacpp: {answer}")
        if answer["timings"]["cache_n"]:
            raise SystemExit("xllamacpp took a prompt from its cache")
        return answer["timings"]

    def prefill(self, prompts):
        start = time.perf_counter()
        self.complete(prompts[0], 1)
        return time.perf_counter() - start, None

    def decode(self, prompts, count):
        """Time by the engine's own clock: the longest of the sequences' decode times."""
        found = [None] * len(prompts)

        def work(i):
            found[i] = self.complete(prompts[i], count + 1)

        workers = [threading.Thread(target=work, args=(i,)) for i in range(len(prompts))]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return max(t["predicted_ms"] for t in found) / 1000 * count / (count + 1), None


class OpenVino:
    """OpenVINO GenAI's pipeline on a GGUF file."""

    def __init__(self, path, threads):
        import openvino
        import openvino_genai as library

        self.library, self.tensor = library, openvino.Tensor
        schedule = library.SchedulerConfig()
        schedule.enable_prefix_caching = False
        schedule.max_num_batched_tokens = MAX_PROMPT
        schedule.max_num_seqs = MAX_SEQUENCES
        schedule.cache_size = 1
        self.pipeline = library.LLMPipeline(
            path,
            "CPU",
            scheduler_config=schedule,
            INFERENCE_NUM_THREADS=threads,
            PERFORMANCE_HINT="LATENCY",
        )
        self.versions = {"openvino-genai": version("openvino-genai")}

    def generate(self, prompts, count):
        """Return seconds to the first token, seconds after it, and the first row's tokens."""
        import numpy

        settings = self.library.GenerationConfig(
            max_new_tokens=count, ignore_eos=True, do_sample=False, apply_chat_template=False
        )
        ids = numpy.array(prompts, dtype=numpy.int64)
        inputs = self.library.TokenizedInputs(self.tensor(ids), self.tensor(numpy.ones_like(ids)))
        start = time.perf_counter()
        answer = self.pipeline.generate(inputs, settings)
        total = time.perf_counter() - start
        return total, answer.perf_metrics.get_ttft().mean / 1000, list(answer.tokens[0])

    def prefill(self, prompts):
        total, _, _ = self.generate(prompts, 1)
        return total, None

    def decode(self, prompts, count):
        """The wall-clock time without the engine's own time to the first token."""
        total, first, tokens = self.generate(prompts, count + 1)
        return total - first, tokens[:count]


class Transformers:
    """The transformers library in bf16, a bare greedy loop around the model."""

    def __init__(self, path, threads):
        import torch
        import transformers

        torch.set_num_threads(threads)
        self.torch, self.cache = torch, transformers.DynamicCache
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            path, dtype=torch.bfloat16, attn_implementation="sdpa"
        ).eval()
        self.versions = {"transformers": transformers.__version__, "torch": torch.__version__}

    def feed(self, ids, cache):
        with self.torch.inference_mode():
            logits = self.model(
                input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1
            ).logits
        return logits[:, -1].argmax(-1, keepdim=True)

    def prefill(self, prompts):
        ids = self.torch.tensor(prompts)
        start = time.perf_counter()
        self.feed(ids, self.cache())
        return time.perf_counter() - start, None

    def decode(self, prompts, count):
        cache, found = self.cache(), []
        next_B1 = self.feed(self.torch.tensor(prompts), cache)
        start = time.perf_counter()
        for _ in range(count):
            found.append(int(next_B1[0]))
            next_B1 = self.feed(next_B1, cache)
        return time.perf_counter() - start, found


PEERS = {
    "llama.cpp": LlamaCpp,
    "xllamacpp": XLlamaCpp,
    "openvino": OpenVino,
    "transformers": Transformers,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", required=True, choices=PEERS)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()

    def prepare():
        peer = PEERS[args.peer](args.model, args.threads)

        def answer(question):
            prompts, count = question["prompts"], question["new_tokens"]
            if count:
                seconds, ids = peer.decode(prompts, count)
                tokens = count * len(prompts)
            else:
                (seconds, ids), tokens = peer.prefill(prompts), sum(map(len, prompts))
            return {"seconds": seconds, "tokens": tokens, "ids": ids}

        return peer.versions, answer

    serve(prepare)


if __name__ == "__main__":
    main()
