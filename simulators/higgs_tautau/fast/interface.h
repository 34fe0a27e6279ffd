/* What the vectorised part of the generator hands to the scalar one. */
#ifndef FAST_INTERFACE_H
#define FAST_INTERFACE_H

#include "response.h"
#include "tau.h"

enum { BATCH = 1024 }; /* candidates at a time; events depend on it only through the order of random words */

typedef float Column[BATCH] __attribute__((aligned(64)));

/* Z events whose lepton and tau passed acceptance, efficiency and thresholds, in the order of the candidates. */
typedef struct {
    Column system_pt, system_y;
    Column lepton_x, lepton_y, lepton_pt, lepton_eta; /* measured */
    Column tau_x, tau_y, tau_eta, tau_raw, tau_extra; /* direction and eta are true, the rest measured */
} Candidates;

/* Compiled once for every instruction set: makes candidates first to first + BATCH - 1 of a block; returns how many
 * are left. */
typedef struct {
    int (*make_z)(const Quantiles *pt, const TauTables *tau, const uint64_t key[2], uint64_t first, Candidates *out);
} Implementation;

extern const Implementation fast_base;
#if defined(__x86_64__)
extern const Implementation fast_avx2;
extern const Implementation fast_avx512;
#endif

#endif
