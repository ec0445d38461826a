// Runs kernels without barriers on the CPU: a grid is a loop over its threads, one after the other.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline

struct Index {
    unsigned x, y, z;
};
static Index gridDim, blockDim, blockIdx, threadIdx;

static inline unsigned atomicMax(unsigned* at, unsigned value) {
    const unsigned before = *at;
    if (value > before) *at = value;
    return before;
}

template <class Kernel> static void emulate(unsigned gx, unsigned gy, unsigned gz, unsigned threads, Kernel kernel) {
    gridDim = {gx, gy, gz};
    blockDim = {threads, 1, 1};
    threadIdx = {0, 0, 0};
    for (blockIdx.z = 0; blockIdx.z < gz; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < gy; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < gx; ++blockIdx.x)
                for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x) kernel();
}
