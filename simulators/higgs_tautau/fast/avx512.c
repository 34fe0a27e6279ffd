/* x86-64 with AVX-512 (F, BW, DQ, VL). */
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,bmi2"))), apply_to = function)
#define __AVX512F__ 1
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,bmi2,prefer-vector-width=512")
#endif
#define IMPLEMENTATION fast_avx512
#include "candidates.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
