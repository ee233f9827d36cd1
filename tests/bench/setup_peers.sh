#!/bin/sh
# Installs the benchmarks' peers into a private virtual environment: tests/bench/setup_peers.sh [FOLDER]
# FOLDER is build/peers by default, where make bench finds it; elsewhere, set QUERN_PEER=FOLDER/bin/python.
# torch.compile also needs g++; jemalloc or tcmalloc (Debian: libjemalloc2) is preloaded where it is there;
# bench_gemm takes oneDNN (Debian: libdnnl2) and OpenBLAS from the system.
set -e
folder=${1:-build/peers}
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet --upgrade pip
"$folder/bin/pip" install --quiet --extra-index-url "${TORCH_INDEX:-}" "torch>=2.13" numpy ||
  "$folder/bin/pip" install --quiet "torch>=2.13" numpy
"$folder/bin/pip" install --quiet onnx onnxruntime onnxscript jax
"$folder/bin/python" -c 'import torch, onnxruntime, jax; print("peers: PyTorch", torch.__version__, "ONNX Runtime", onnxruntime.__version__, "JAX", jax.__version__)'
command -v g++ >/dev/null || echo "peers: torch.compile will be skipped, g++ is not installed"
