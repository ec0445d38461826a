"""CUDA backend: kernels over the headers of ``sim/core``, compiled at first use for the GPU that is there.

`modules` says what is compiled and how, `compile` does it and keeps the result on disk, `launch` starts kernels on torch's
current stream, `backend` has a function for each op of `sim.ops`. Nothing here is imported before a tensor on a GPU asks for it.
"""
