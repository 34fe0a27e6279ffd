/* Interface between Python (ctypes) and the event kernel. Keep in step with ../compiled.py. */
#ifndef FU_INTERFACE_H
#define FU_INTERFACE_H

#include <stdint.h>

enum { DETECTOR, POSTHOC, OFFICIAL };

enum {
    N_FEATURES = 28,
    N_PRIMARY = 16,
    N_RECORD = 32,
    N_RECORD_JETS = 8,
    MAX_PROCESSES = 64
};

/* Rows of the primary features. */
enum {
    LEP_PT, LEP_ETA, LEP_PHI,
    HAD_PT, HAD_ETA, HAD_PHI,
    JET1_PT, JET1_ETA, JET1_PHI,
    JET2_PT, JET2_ETA, JET2_PHI,
    N_JETS, ALL_PT, MET, MET_PHI
};

/* Rows of the derived features. */
enum {
    MASS_TRANSVERSE = N_PRIMARY, MASS_VIS, PT_H,
    DELTA_ETA_JETS, MASS_JETS, PRODUCT_ETA_JETS,
    DELTA_R, PT_TOT, SUM_PT, PT_RATIO,
    MET_CENTRALITY, LEP_CENTRALITY
};

/* Rows of the detector-level record; lepton and tau as above. */
enum { REC_MET_X = 6, REC_MET_Y = 7, REC_JET = 8 };

/* What happens to every event. */
typedef struct {
    int32_t mode;
    int32_t select;        /* whether the 26 GeV selection is applied */
    double tes, jes, soft_met;
    uint64_t noise_key[2]; /* stream of the soft-MET noise, unless noise is given */
} Shift;

/* Events in columns: feature c of event i at data[c * stride + i]. */
typedef struct {
    const float *data;
    int64_t stride;
    const double *noise; /* (2, n) unit noise, or NULL */
    int64_t noise_stride;
    const int32_t *order; /* event at each place, or NULL if they come as they are */
} Columns;

typedef struct {
    float *data; /* feature c of event i at data[c * stride + i] */
    int64_t stride;
    int64_t *rows; /* which input row each output event is, or NULL */
} Output;

/* Keep the row that was drawn if a random word is below the threshold, else take this one. */
typedef struct {
    uint32_t threshold, row;
} Alias;

/* Events of one process, one row after the other, in chunks that fit the cache, and this toy's draws from it. */
typedef struct {
    const float *rows;
    const Alias *aliases;        /* alias table of each chunk, or NULL if all weights are equal */
    const int64_t *chunk_rows;   /* first row of each chunk, and one past the last */
    const int64_t *chunk_draws;  /* first draw from each chunk, and one past the last */
    int64_t n_chunks;
    uint64_t key[2];             /* stream of the row choice */
    const uint32_t *chosen;      /* row of each draw, or NULL if it is yet to be chosen from the chunks */
} Process;

typedef struct {
    const Process *processes;
    int64_t n_processes;
    int64_t frequent;            /* process with the most draws */
    const uint8_t *labels;       /* process of each slot */
    const int64_t *first_draws;  /* (n_segments, n_processes): draws made before each segment */
    int64_t n_slots;
    int64_t segment_size;        /* a multiple of 16 */
} Draws;

/* The implementation, compiled once for every instruction set. */
typedef struct {
    int64_t (*shift_columns)(const Shift *, const Columns *, int64_t begin, int64_t end, const Output *, int64_t at);
    int64_t (*count_selected)(const Shift *, const Columns *, int64_t begin, int64_t end);
    int64_t (*count_nonfinite)(const float *, int64_t n);
    int64_t (*draw_segment)(const Shift *, const Draws *, int64_t segment, const Output *);
} Implementation;

extern const Implementation implementation_base;
#if defined(__x86_64__)
extern const Implementation implementation_avx2;
extern const Implementation implementation_avx512;
#endif

#endif
