/* x86-64 with AVX2 (2013 on). */
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,bmi2"))), apply_to = function)
#define __AVX__ 1
#else
#pragma GCC target("avx2,bmi2")
#endif
#define IMPLEMENTATION fast_avx2
#include "candidates.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
