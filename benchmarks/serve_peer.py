"""llama.cpp's own server on a GGUF file, from the wheel xllamacpp: the peer of serve_load.py.

    python benchmarks/serve_peer.py model.gguf --port 8081 --slots 64 --context 1024

Serves until its standard input closes.
"""

import argparse
import sys

import xllamacpp


def main() -> None:
    """Open the server and wait."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--context", type=int, default=1024, help="tokens of a slot")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path = args.model
    params.model_alias = {"peer"}
    params.hostnames = ["127.0.0.1"]
    params.port = args.port
    params.n_parallel = args.slots
    params.n_ctx = args.context * args.slots
    params.cont_batching = True
    params.cpuparams.n_threads = args.threads
    params.cpuparams_batch.n_threads = args.threads
    params.endpoint_metrics = False
    server = xllamacpp.Server(params)
    print(f"listening at {server.listening_address}, {xllamacpp.BUILD_INFO}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
