#!/usr/bin/env python3
"""The peers' side of a benchmark: reads commands, one line of JSON each, answers with one line each.

  {"hello": true}                      what is installed, with versions and settings
  {"case": "hstu.step", "args": {..}, "backend": "eager|compile|jax|onnx", "seconds": 0.5, "least": 1}
                                       median ms of calls ("best": the least, "all": every one); the first time a
                                       case is asked for, it is made and warmed up
  {"forget": true}                     frees what was made

A case is a function of a module beside this file: function(args, backend) returns the call to time,
or raises NotImplementedError where the backend has none. Usage: serve.py THREADS
SPDX-License-Identifier: MIT
"""
import gc
import importlib
import json
import os
import sys
import time


def versions(threads):
    found, settings, missing = {}, [], []
    try:
        import torch
        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
        mkl = "MKL" if torch.backends.mkl.is_available() else "no MKL"
        one = "oneDNN" if torch.backends.mkldnn.is_available() else "no oneDNN"
        settings.append("PyTorch %s (%s, %s, %s)" % (torch.__version__, torch.backends.cpu.get_cpu_capability(), mkl, one))
        found["eager"] = True
        from shutil import which
        if which("g++") or which("clang++"):
            found["compile"] = True
        else:
            missing.append("torch.compile: skipped (it needs g++)")
    except ImportError:
        missing.append("PyTorch: skipped (not installed)")
    for backend, module in (("jax", "jax"), ("onnx", "onnxruntime")):
        try:
            os.environ.setdefault("JAX_PLATFORMS", "cpu")
            settings.append("%s %s" % (module, importlib.import_module(module).__version__))
            found[backend] = True
        except ImportError:
            missing.append("%s: skipped (not installed)" % module)
    return {"backends": found, "settings": ", ".join(settings), "missing": missing}


def timed(call, seconds, least):
    times, start = [], time.perf_counter()
    while len(times) < least or time.perf_counter() - start < seconds:
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1e3)
    times.sort()
    return times


def main():
    threads, made, out = int(sys.argv[1]), {}, os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes beside the answers
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    for line in sys.stdin:
        command = json.loads(line)
        answer = {}
        try:
            if "hello" in command:
                answer = versions(threads)
            elif "forget" in command:
                made.clear()
                gc.collect()
            else:
                key = json.dumps([command["case"], command.get("args"), command["backend"]], sort_keys=True)
                if key not in made:
                    module, function = command["case"].split(".")
                    call = getattr(importlib.import_module(module), function)(command.get("args") or {}, command["backend"])
                    if "check" in command:
                        answer["value"] = call()
                    else:
                        call()
                        call()
                    made[key] = call
                if "check" not in command:
                    times = timed(made[key], command.get("seconds", 0.5), command.get("least", 1))
                    answer["ms"] = times[0 if command.get("best") else len(times) // 2]
                    if command.get("all"):
                        answer["all"] = times
        except Exception as error:  # the benchmark goes on without this peer
            answer = {"error": "%s: %s" % (type(error).__name__, str(error).split("\n")[0][:200])}
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
