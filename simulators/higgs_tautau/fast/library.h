/* Events from records of the full chain: hard leptons and undecayed taus, and what the detector made of the rest.
 *
 * A record is turned, mirrored and jittered, its taus decay anew, and leptons, taus and what they share with the rest
 * are measured with the numbers of the full chain's detector card.
 */
#ifndef FAST_LIBRARY_H
#define FAST_LIBRARY_H

#include "../kernel/random.h"
#include "detector.h"
#include "tau.h"

/* ---- records: a byte per value, a random number within the step of each makes it continuous ---- */

enum { N_OBJECTS = 4, N_RECOIL_JETS = 8 };

/* Logarithmic steps from `low`; 0 stands for none. */
typedef struct {
    uint8_t kind, pt, eta, phi, axis_cosine, axis_phi, activity, extra, extra_deta, extra_dphi, n_tracks;
} ObjectBytes;

typedef struct {
    uint8_t raw, eta, phi;
} JetBytes;

typedef struct {
    uint8_t soft_x, soft_y;
    ObjectBytes objects[N_OBJECTS];
    JetBytes jets[N_RECOIL_JETS];
    uint8_t tags[N_RECOIL_JETS / 2]; /* four bits of each jet: number of tracks up to 2, true tau, and positive one */
} RecordBytes;

/* Visible particles of hadronic decays in the rest frame of a tau-, the polarimeter vector along z; the charged
 * ones first. */
enum { MAX_VISIBLE = 4 };
typedef struct {
    float polarimeter; /* length, with the sign of its component along z */
    int32_t n_charged, n_visible;
    float p[MAX_VISIBLE][3];
} Decay;

/* Leptons of decays of taus of one polarisation: energy over the largest, cosine in the helicity frame; ordered by the
 * part of the tau's momentum that they get. */
typedef struct {
    float x, cosine;
} Lepton;

/* For the alias method: a record stands for itself up to `keep`, else for another. Events of a record pass with their
 * probability to have one tag, over `bound`. If it is a pair of taus alone, the decays of each to a lepton, by
 * polarisation (-1, 1), that can reach the threshold begin at `first`; the record has the weight of those. */
typedef struct {
    uint32_t keep, alias;
    float bound;
    uint16_t first[2][2];
} Draw;

typedef struct {
    float low, step;
} Logarithmic;

typedef struct {
    const RecordBytes *records;
    const Draw *draws;
    int64_t n_records;
    const Decay *decays;
    int64_t n_decays;
    const Lepton *leptons[2]; /* by polarisation */
    int64_t n_leptons;
    Logarithmic pt, activity, extra, raw, soft; /* `soft` has even steps below its `low`, for both signs */
    float object_eta, extra_reach, jet_eta;     /* even steps on both sides of zero, up to here */
} Library;

enum { NO_OBJECT, ELECTRON, MUON, TAU_OF_W, TAU_OF_Z, TAU_OF_H, KIND_BITS = 7, POSITIVE = 8 };

static inline float from_log(Rng *rng, uint8_t code, Logarithmic scale) {
    return scale.low * exp_f(scale.step * ((float)code - 1 + uniform(rng)));
}

static inline float from_even(Rng *rng, uint8_t code, float reach) {
    return reach * (((float)code + uniform(rng)) * (1 / 128.f) - 1);
}

static inline float from_sinh(Rng *rng, uint8_t code, Logarithmic scale) {
    float up = exp_f(scale.step * ((float)code - 128 + uniform(rng)));
    return .5f * scale.low * (up - 1 / up);
}

/* ---- the detector card ---- */

#define TAG_CONE .2f
#define LEPTON_CONE .3f
#define ISOLATION_CONE .5f
#define MIN_GOOD_PT 15.f
#define B_LEPTONIC (B_ELECTRON + B_MUON)
#define BENDING .299792458f
#define FIELD 2.f
#define RADIUS 1.15f
#define HALF_LENGTH 3.51f

/* Lognormal about an energy, which stays its mean. */
static inline float smear(Rng *rng, float energy, float sigma) {
    float ratio = sigma / energy, square = ratio * ratio;
    float variance = square < .01f ? square * (1 - square * (.5f - square * (1 / 3.f))) : log_f(1 + square);
    return energy * exp_f(sqrt_f(variance) * normal(rng) - .5f * variance);
}

static inline float ecal_sigma(float eta, float e) {
    int central = abs_f(eta) < 3.2f;
    float a = central ? .101f : .285f, b = central ? .0017f : .035f;
    return sqrt_f(a * a * e + b * b * e * e);
}

static inline float hcal_sigma(float eta, float e) {
    float h = abs_f(eta), a = h < 1.7f ? .5205f : h < 3.2f ? .706f : 1.f;
    float b = h < 1.7f ? .0302f : h < 3.2f ? .05f : .0942f, c = h < 1.7f ? 1.59f : 0;
    return sqrt_f(a * a * e + b * b * e * e + c * c);
}

static inline float found_electron(float pt, float eta) {
    float h = abs_f(eta);
    if (h >= 2.5f || pt <= 10) return 0;
    if (h < 1.5f) return pt < 100 ? .9025f : .9405f;
    return pt < 100 ? .7055f : .7650f;
}

static inline float found_muon(float pt, float eta) {
    float h = abs_f(eta);
    if (h >= 2.5f || pt <= 10) return 0;
    return h < 1.5f ? .9405f : .8330f;
}

static inline float found_track(float pt, float eta) {
    float h = abs_f(eta);
    if (h >= 2.5f) return 0;
    if (h < 1.5f) return pt < 1 ? .70f : .95f;
    return pt < 1 ? .60f : .85f;
}

static inline float track_sigma(float pt, float eta) {
    float h = abs_f(eta), a = h < .5f ? .06f : h < 1.5f ? .10f : .25f;
    float b = h < .5f ? 1.3e-3f : h < 1.5f ? 1.7e-3f : 3.1e-3f;
    return pt * sqrt_f(a * a + b * b * pt * pt);
}

static inline float muon_sigma(float pt, float eta) {
    float h = abs_f(eta), a = h < .5f ? .01f : h < 1.5f ? .015f : .025f;
    float b = h < .5f ? 1e-4f : h < 1.5f ? 1.5e-4f : 3.5e-4f;
    return pt * sqrt_f(a * a + b * b * pt * pt);
}

/* ---- decays ---- */

typedef struct {
    Vec p;
    float pt, eta, phi;
} Charged;

static inline Charged charged_at(Vec p) { return (Charged){p, pt(p) + 1e-6f, eta(p), phi(p)}; }

typedef struct {
    int kind, charge, is_lepton, is_electron; /* a tau is a lepton if it decays to one */
    float polarisation, x, cosine; /* of a lepton in the helicity frame: energy over the largest, and direction */
    Vec p;                         /* tau or lepton before its decay */
    float pt, p_eta, p_phi;        /* of `p` */
    float nx, ny, nz;              /* of taus: flight away from the parent in the rest frame */
    Vec visible;
    float eta, phi; /* of `visible` */
    int is_found, is_good;
    float measured, activity; /* pt of a found lepton, and of what is around it */
    Vec deposit;              /* massless, in the calorimeters, or of a found muon */
    Vec extra;                /* what the environment adds to its jet */
    int n_tracks;             /* of the environment near that jet's axis */
} Object;

/* From the helicity frame to the lab. */
static inline Vec tau_to_lab(const Object *tau, float x, float y, float z, float e) {
    float nt = sqrt_f(tau->nx * tau->nx + tau->ny * tau->ny) + 1e-12f, ux = -tau->ny / nt, uy = tau->nx / nt;
    float vx = -tau->nz * uy, vy = tau->nz * ux, vz = nt;
    Vec rest = {x * ux + y * vx + z * tau->nx, x * uy + y * vy + z * tau->ny, y * vz + z * tau->nz, e};
    return boost(rest, tau->p, M_TAU);
}

/* One of the decays from `first` on, to a lepton; returns about the largest pt that it may have. */
static float draw_lepton(Rng *rng, const Library *library, Object *tau, int64_t first) {
    const Lepton *decays = library->leptons[tau->polarisation > 0];
    const Lepton *lepton = &decays[first + (int64_t)below(next_word(rng), (uint64_t)(library->n_leptons - first))];
    tau->x = lepton->x;
    tau->cosine = lepton->cosine;
    return 1.02f * .5f * tau->x * (1 + tau->cosine) * tau->pt + .5f * M_TAU;
}

static void decay_tau_to_lepton(Rng *rng, Object *tau) {
    float e = .5f * M_TAU * tau->x, c = tau->cosine, s = e * sqrt_f(max_f(1 - c * c, 0)), sine, cosine;
    sincos_turn_f(uniform(rng), &sine, &cosine);
    tau->visible = tau_to_lab(tau, s * cosine, s * sine, e * c, e);
    tau->is_electron = chance(rng, B_ELECTRON / B_LEPTONIC);
}

static void point(Object *object) {
    object->eta = eta(object->visible);
    object->phi = phi(object->visible);
}

static inline Vec massless_tower(float energy, float h, float f) {
    float up = exp_f(h), down = 1 / up, pt = 2 * energy / (up + down), s, c;
    sincos_f(f, &s, &c);
    return (Vec){pt * c, pt * s, .5f * pt * (up - down), energy};
}

/* Charged hadrons in the hadronic calorimeter: those in one cell share it. */
static void fill_hcal(Rng *rng, Object *tau, const Charged *particles, int n) {
    const float step = PI / 18; /* of cells in azimuth */
    float energy[3], cell_eta[3], cell_phi[3], width[3];
    int cells = 0;
    for (int i = 0; i < n; i++) {
        float p = particles[i].pt, slope = abs_f(particles[i].p.z) / p, h = particles[i].eta;
        float radius = min_f(RADIUS, HALF_LENGTH / max_f(slope, 1e-6f)), bend = .5f * BENDING * FIELD * radius / p;
        if (bend >= 1 || abs_f(h) >= 3.2f) continue;
        /* asin of a small angle */
        float angle = bend * (1 + bend * bend * (1 / 6.f + bend * bend * (3 / 40.f)));
        float f = particles[i].phi - (float)tau->charge * (i == n - 1 && n == 3 ? -1 : 1) * angle;
        float a = abs_f(h), d = a < 2.5f ? .1f : .7f, begin = a < 2.5f ? 0 : 2.5f;
        float row = begin + d * (float)(int)((a - begin) / d);
        float column = step * (float)((int)(wrap(f) / step + 64) - 64);
        row = h < 0 ? -row - d : row;
        int j = 0;
        while (j < cells && !(cell_eta[j] == row && cell_phi[j] == column)) j++;
        if (j == cells) {
            cell_eta[j] = row;
            cell_phi[j] = column;
            width[j] = d;
            energy[j] = 0;
            cells++;
        }
        energy[j] += particles[i].p.e;
    }
    for (int j = 0; j < cells; j++) {
        float h = cell_eta[j] + .5f * width[j], e = smear(rng, energy[j], hcal_sigma(h, energy[j]));
        float u = uniform(rng), v = uniform(rng);
        if (e > 1 && e > 2 * hcal_sigma(h, e))
            tau->deposit = add(tau->deposit, massless_tower(e, cell_eta[j] + u * width[j], cell_phi[j] + v * step));
    }
}

static void fill_ecal(Rng *rng, Object *object, Vec p) {
    float e = smear(rng, p.e, ecal_sigma(eta(p), p.e));
    if (e > .5f) object->deposit = add(object->deposit, scaled(p, e / p.e, e)); /* cells are small */
}

/* Softer hadrons are not measured above the threshold of jets. */
#define MIN_VISIBLE_PT 12.f

/* Momenta of charged hadrons are kept for their tracks: returns their number, or -1 if all is softer than `min_pt`. */
static int decay_tau_to_hadrons(Rng *rng, const Library *library, Object *tau, float min_pt, Charged charged[3]) {
    const Decay *decay = &library->decays[below(next_word(rng), (uint64_t)library->n_decays)];
    float c = cosine_at(tau->polarisation * decay->polarimeter, uniform(rng)), s = sqrt_f(max_f(1 - c * c, 0));
    float cf, sf, ct, st;
    sincos_turn_f(uniform(rng), &sf, &cf);
    sincos_turn_f(uniform(rng), &st, &ct);
    Vec rest[MAX_VISIBLE], all[MAX_VISIBLE];
    float forward = 0;
    for (int i = 0; i < decay->n_visible; i++) {
        const float *q = decay->p[i];
        float x = ct * q[0] - st * q[1], y = st * q[0] + ct * q[1], z = q[2];
        float x2 = c * x + s * z, z2 = c * z - s * x, e = sqrt_f(x * x + y * y + z * z + M_PION * M_PION);
        rest[i] = (Vec){cf * x2 - sf * y, sf * x2 + cf * y, z2, e};
        forward += e + z2;
    }
    if (1.02f * forward / M_TAU * tau->pt + .5f * M_TAU + pt(tau->extra) < min_pt) return -1;
    tau->visible = (Vec){0, 0, 0, 0};
    for (int i = 0; i < decay->n_visible; i++) {
        all[i] = tau_to_lab(tau, rest[i].x, rest[i].y, rest[i].z, rest[i].e);
        tau->visible = add(tau->visible, all[i]);
    }
    for (int i = 0; i < decay->n_charged; i++) charged[i] = charged_at(all[i]);
    point(tau);
    if (pt2(tau->visible) < 64) return decay->n_charged; /* too soft for a jet above threshold */
    for (int i = decay->n_charged; i < decay->n_visible; i++) fill_ecal(rng, tau, all[i]);
    fill_hcal(rng, tau, charged, decay->n_charged);
    return decay->n_charged;
}

/* ---- objects ---- */

typedef struct {
    float flip_eta, flip_phi, turn;
} Symmetry;

static inline float placed(const Symmetry *symmetry, float phi) {
    return wrap(symmetry->flip_phi * phi + symmetry->turn);
}

static void place_object(Rng *rng, const Library *library, const ObjectBytes *bytes, const Symmetry *symmetry,
                         int is_first, Object *o) {
    float h = symmetry->flip_eta * from_even(rng, bytes->eta, library->object_eta);
    float f = is_first ? 0 : from_even(rng, bytes->phi, PI), mass = o->kind >= TAU_OF_W ? M_TAU : 0;
    o->p_eta = h;
    o->p_phi = placed(symmetry, f);
    o->p = from_pt_eta_phi(o->pt, h, o->p_phi);
    o->p.e = sqrt_f(o->p.e * o->p.e + mass * mass);
    o->deposit = (Vec){0, 0, 0, 0};
}

static void read_axis(Rng *rng, const ObjectBytes *bytes, const Symmetry *symmetry, Object *tau) {
    float c = from_even(rng, bytes->axis_cosine, 1), s = sqrt_f(max_f(1 - c * c, 0)), sine, cosine;
    sincos_f(placed(symmetry, from_even(rng, bytes->axis_phi, PI)), &sine, &cosine);
    tau->nx = s * cosine;
    tau->ny = s * sine;
    tau->nz = symmetry->flip_eta * c;
}

/* Flight of a tau away from its parent. */
static void set_axis(Object *tau, Vec parent) {
    Vec back = boost(parent, (Vec){-tau->p.x, -tau->p.y, -tau->p.z, tau->p.e}, M_TAU);
    float norm = sqrt_f(back.x * back.x + back.y * back.y + back.z * back.z) + 1e-12f;
    tau->nx = -back.x / norm;
    tau->ny = -back.y / norm;
    tau->nz = -back.z / norm;
}

static void read_extra(Rng *rng, const Library *library, const ObjectBytes *bytes, const Symmetry *symmetry,
                       Object *o) {
    o->n_tracks = bytes->n_tracks;
    o->extra = (Vec){0, 0, 0, 0};
    if (!bytes->extra) return;
    float p = from_log(rng, bytes->extra, library->extra);
    float h = o->p_eta + symmetry->flip_eta * from_even(rng, bytes->extra_deta, library->extra_reach);
    float f = o->p_phi + symmetry->flip_phi * from_even(rng, bytes->extra_dphi, library->extra_reach);
    o->extra = from_pt_eta_phi(p, h, f);
}

/* How a pair alone decays: at least one lepton that can reach its threshold; in Z decays just one, as in the full
 * chain. Each case has the weight of its decays. */
static void choose_pair(Rng *rng, const Library *library, const Draw *draw, Object taus[2]) {
    int is_scalar = taus[0].kind == TAU_OF_H, chosen = 0;
    float positive = is_scalar ? .5f : .5f * (1 - Z_POLARISATION), n = (float)library->n_leptons, weight[4], total = 0;
    for (int i = 0; i < 4; i++) {
        weight[i] = .5f * (i % 2 ? positive : 1 - positive) * (n - (float)draw->first[i / 2][i % 2]);
        total += weight[i];
    }
    float both = is_scalar ? .5f * B_LEPTONIC / (1 - B_LEPTONIC) * n : 0, u = uniform(rng) * (total + both) - both;
    if (u < 0) {
        draw_polarisations(rng, 1, &taus[0].polarisation, &taus[1].polarisation);
        for (int i = 0; i < 2; i++) {
            taus[i].is_lepton = 1;
            draw_lepton(rng, library, &taus[i], 0);
        }
        return;
    }
    for (int i = 0; i < 4; i++) {
        if (weight[i] == 0) continue;
        chosen = i; /* the last one if rounding goes past it */
        if (u < weight[i]) break;
        u -= weight[i];
    }
    Object *first = &taus[chosen / 2], *second = &taus[1 - chosen / 2];
    first->polarisation = chosen % 2 ? 1 : -1;
    second->polarisation = is_scalar ? -first->polarisation : first->polarisation;
    first->is_lepton = 1;
    second->is_lepton = 0;
    draw_lepton(rng, library, first, draw->first[chosen / 2][chosen % 2]);
}

static void choose_decay(Rng *rng, const Library *library, Object *tau, float *highest) {
    tau->is_lepton = chance(rng, B_LEPTONIC);
    if (tau->is_lepton) *highest = max_f(*highest, draw_lepton(rng, library, tau, 0));
}

static inline int is_pair(const Object *objects, int i, int n) {
    return objects[i].kind > TAU_OF_W && i + 1 < n && objects[i + 1].kind == objects[i].kind;
}

/* Objects of a record, how taus decay and what energy their leptons get; returns their number, or 0 if no lepton can
 * reach its threshold. */
static int begin_objects(Rng *rng, const Library *library, const RecordBytes *record, const Draw *draw,
                         Object *objects) {
    int n = 0;
    for (; n < N_OBJECTS && record->objects[n].kind; n++) {
        objects[n].kind = record->objects[n].kind & KIND_BITS;
        objects[n].charge = record->objects[n].kind & POSITIVE ? 1 : -1;
        objects[n].pt = from_log(rng, record->objects[n].pt, library->pt);
    }
    if (n == 2 && is_pair(objects, 0, 2)) {
        choose_pair(rng, library, draw, objects);
        return n;
    }
    float highest = 0;
    for (int i = 0; i < n; i++) {
        Object *o = &objects[i];
        if (o->kind < TAU_OF_W) {
            o->is_lepton = 1;
            o->is_electron = o->kind == ELECTRON;
            highest = max_f(highest, o->pt);
        } else if (is_pair(objects, i, n)) {
            Object *other = &objects[++i];
            draw_polarisations(rng, o->kind == TAU_OF_H, &o->polarisation, &other->polarisation);
            choose_decay(rng, library, o, &highest);
            choose_decay(rng, library, other, &highest);
        } else {
            o->polarisation = o->kind == TAU_OF_W ? -1 : sign(rng);
            choose_decay(rng, library, o, &highest);
        }
    }
    return highest > MIN_LEPTON_PT ? n : 0;
}

/* Directions of objects, and of the flight of taus away from their parents. */
static void place_objects(Rng *rng, const Library *library, const RecordBytes *record, const Symmetry *symmetry,
                          Object *objects, int n) {
    for (int i = 0; i < n; i++) place_object(rng, library, &record->objects[i], symmetry, i == 0, &objects[i]);
    for (int i = 0; i < n; i++) {
        Object *o = &objects[i];
        if (is_pair(objects, i, n)) {
            Vec parent = add(o->p, objects[i + 1].p);
            set_axis(o, parent);
            set_axis(&objects[++i], parent);
        } else if (o->kind >= TAU_OF_W) {
            read_axis(rng, &record->objects[i], symmetry, o);
        }
    }
}

/* ---- leptons ---- */

static void measure_object_lepton(Rng *rng, Object *o) {
    float p = pt(o->visible), h = o->eta;
    o->is_found = chance(rng, o->is_electron ? found_electron(p, h) : found_muon(p, h));
    if (o->is_electron) {
        fill_ecal(rng, o, o->visible);
        if (o->is_found) o->measured = p * smear(rng, o->visible.e, ecal_sigma(h, o->visible.e)) / o->visible.e;
    } else if (o->is_found) {
        o->measured = smear(rng, p, muon_sigma(p, h));
        o->deposit = scaled(o->visible, o->measured / p, o->visible.e * o->measured / p);
    }
}

/* Momentum that others bring into the isolation cone. */
static float crowd(const Object *objects, int n, int i) {
    float sum = 0;
    const Object *o = &objects[i];
    for (int j = 0; j < n; j++) {
        float d2 = delta_r2(o->eta, o->phi, objects[j].eta, objects[j].phi);
        if (j != i && d2 < ISOLATION_CONE * ISOLATION_CONE) sum += pt(objects[j].visible);
    }
    return sum;
}

static inline int is_isolated(const Object *o, float crowd) {
    float most = (o->is_electron ? .12f : .25f) * o->measured;
    return o->is_found && o->measured > MIN_GOOD_PT && o->activity + crowd < most;
}

/* Decays and measures leptons: 0 if none passes. */
static int measure_leptons_of(Rng *rng, const Library *library, const RecordBytes *record, Object *objects, int n) {
    int n_passing = 0;
    for (int i = 0; i < n; i++) {
        Object *o = &objects[i];
        if (!o->is_lepton) continue;
        o->visible = o->p;
        if (o->kind >= TAU_OF_W) decay_tau_to_lepton(rng, o);
        point(o);
        measure_object_lepton(rng, o);
        uint8_t code = record->objects[i].activity;
        o->activity = code ? from_log(rng, code, library->activity) : 0;
        n_passing += is_isolated(o, 0) && o->measured > LEPTON_PT;
    }
    return n_passing;
}

/* Index of the one isolated lepton; -1 if there is none or more, or it is below threshold. */
static int single_lepton(Object *objects, int n) {
    int n_good = 0, chosen = -1;
    for (int i = 0; i < n; i++) {
        objects[i].is_good = objects[i].is_lepton && is_isolated(&objects[i], crowd(objects, n, i));
        if (!objects[i].is_good) continue;
        n_good++;
        chosen = i;
    }
    if (n_good != 1) return -1;
    return objects[chosen].measured > LEPTON_PT && abs_f(objects[chosen].eta) < LEPTON_ETA ? chosen : -1;
}

/* ---- jets ---- */

typedef struct {
    Vec p;
    float raw, eta, phi;
    int n_tracks, charge; /* charge of a true tau in it, or 0 */
} TaggedJet;

enum { MAX_TAGGED = N_OBJECTS + N_RECOIL_JETS };

static int read_jets(Rng *rng, const Library *library, const RecordBytes *record, const Symmetry *symmetry,
                     TaggedJet *jets) {
    int n = 0;
    for (; n < N_RECOIL_JETS && record->jets[n].raw; n++) {
        TaggedJet *jet = &jets[n];
        jet->raw = from_log(rng, record->jets[n].raw, library->raw);
        jet->eta = symmetry->flip_eta * from_even(rng, record->jets[n].eta, library->jet_eta);
        jet->phi = placed(symmetry, from_even(rng, record->jets[n].phi, PI));
        jet->p = from_pt_eta_phi(jet->raw, jet->eta, jet->phi);
        int tag = record->tags[n / 2] >> (4 * (n % 2));
        jet->n_tracks = tag & 3;
        jet->charge = tag & 4 ? (tag & 8 ? 1 : -1) : 0;
    }
    return n;
}

/* pt beyond which no track is measured below 1 GeV. */
#define SURE_TRACK 4.f

/* Tracks near an axis. */
static int own_tracks(Rng *rng, const Charged *charged, int n_charged, float axis_eta, float axis_phi) {
    int n = 0;
    for (int i = 0; i < n_charged; i++) {
        float p = charged[i].pt, h = charged[i].eta;
        if (!chance(rng, found_track(p, h))) continue;
        if (p < SURE_TRACK && smear(rng, p, track_sigma(p, h)) <= 1) continue;
        n += delta_r2(h, charged[i].phi, axis_eta, axis_phi) < TAG_CONE * TAG_CONE;
    }
    return n;
}

static inline int is_near(const TaggedJet *jet, const Object *o, float cone) {
    return delta_r2(jet->eta, jet->phi, o->eta, o->phi) < cone * cone;
}

/* Jets of objects; jets closer than the cone are one. */
static int add_object_jets(Rng *rng, const Object *objects, int n_objects, Charged charged[][3], const int *n_charged,
                           TaggedJet *jets, int n) {
    for (int i = 0; i < n_objects; i++) {
        const Object *o = &objects[i];
        Vec sum = add(o->deposit, o->extra);
        if (pt2(sum) < 100) continue;
        TaggedJet jet = {sum, pt(sum), eta(sum), phi(sum), o->n_tracks, 0};
        jet.n_tracks += own_tracks(rng, charged[i], n_charged[i], jet.eta, jet.phi);
        int j = 0;
        while (j < n && delta_r2(jet.eta, jet.phi, jets[j].eta, jets[j].phi) >= CONE * CONE) j++;
        if (j < n) {
            jet.p = add(jet.p, jets[j].p);
            jet = (TaggedJet){jet.p, pt(jet.p), eta(jet.p), phi(jet.p), jet.n_tracks + jets[j].n_tracks, 0};
            jets[j] = jet;
        } else {
            jets[n++] = jet;
        }
    }
    return n;
}

/* Drop the jet of the lepton, find those of true taus. */
static int clean_tagged(const Object *objects, int n_objects, TaggedJet *jets, int n) {
    int kept = 0;
    for (int j = 0; j < n; j++) {
        int is_lepton = 0;
        for (int i = 0; i < n_objects; i++) {
            const Object *o = &objects[i];
            int is_tau = !o->is_lepton && abs_f(o->eta) < TAU_ETA;
            is_lepton |= o->is_good && is_near(&jets[j], o, LEPTON_CONE);
            if (is_tau && is_near(&jets[j], o, TAG_CONE)) jets[j].charge = o->charge;
        }
        if (!is_lepton) jets[kept++] = jets[j];
    }
    return kept;
}

/* Choose the jet that is tagged, in proportion to the probabilities that it is the only one, of opposite charge; -1 if
 * their sum is below `target`. */
static int choose_tagged(const TaggedJet *jets, int n, int charge, float target) {
    float share[MAX_TAGGED], none = 1, total = 0;
    for (int i = 0; i < n; i++) {
        const TaggedJet *jet = &jets[i];
        float p = jet->charge ? (jet->n_tracks == 1 ? .70f : .60f) : (jet->n_tracks == 1 ? .02f : .01f);
        int has_tracks = jet->n_tracks > 0 && abs_f(jet->eta) < TAU_ETA + TAG_CONE;
        if (!has_tracks || jet->raw <= RAW_THRESHOLD) p = 0;
        none *= 1 - p;
        share[i] = p / (1 - p) * (jet->charge ? (float)(jet->charge * charge < 0) : .5f);
        total += share[i];
    }
    if (target >= total * none) return -1;
    target /= none;
    int chosen = 0;
    for (int i = 0; i < n; i++) {
        if (share[i] == 0) continue;
        chosen = i; /* the last one if rounding goes past it */
        if (target < share[i]) break;
        target -= share[i];
    }
    return chosen;
}

/* ---- events ---- */

static void add_to(Pair *sum, Vec p) {
    sum->x += p.x;
    sum->y += p.y;
}

static void write_tagged(const Object *lepton, const TaggedJet *jets, int n, int tau, Pair met, float *record,
                         int64_t stride) {
    float values[N_RECORD] = {lepton->measured, lepton->eta, lepton->phi, jets[tau].raw,
                              jets[tau].eta,    jets[tau].phi, met.x,     met.y};
    float order[MAX_TAGGED];
    int index[MAX_TAGGED], n_sorted = 0;
    for (int i = 0; i < n; i++) {
        if (i == tau || jets[i].raw <= RECORD_THRESHOLD || abs_f(jets[i].eta) >= 4.9f) continue;
        float p = calibrated(jets[i].raw, jets[i].eta);
        int j = n_sorted++;
        for (; j > 0 && order[j - 1] < p; j--) {
            order[j] = order[j - 1];
            index[j] = index[j - 1];
        }
        order[j] = p;
        index[j] = i;
    }
    for (int i = 0; i < n_sorted && i < N_RECORD_JETS; i++) {
        values[8 + 3 * i] = jets[index[i]].raw;
        values[9 + 3 * i] = jets[index[i]].eta;
        values[10 + 3 * i] = jets[index[i]].phi;
    }
    for (int i = 0; i < N_RECORD; i++) record[i * stride] = values[i];
}

static const Draw *draw_record(Rng *rng, const Library *library) {
    uint64_t word = next_word(rng);
    const Draw *draw = &library->draws[below(word, (uint64_t)library->n_records)];
    return (uint32_t)word <= draw->keep ? draw : &library->draws[draw->alias];
}

/* Momentum of all towers that belong to no jet and no object. */
static Pair read_soft(Rng *rng, const Library *library, const RecordBytes *record, const Symmetry *symmetry) {
    float x = from_sinh(rng, record->soft_x, library->soft), sine, cosine;
    float y = symmetry->flip_phi * from_sinh(rng, record->soft_y, library->soft);
    sincos_f(symmetry->turn, &sine, &cosine);
    return (Pair){x * cosine - y * sine, x * sine + y * cosine};
}

/* Largest probability that a jet of the environment, or of a lepton, is tagged. */
static float tag_others(const RecordBytes *record, int n_leptons) {
    float sum = .01f * (float)n_leptons;
    for (int i = 0; i < N_RECOIL_JETS && record->jets[i].raw; i++) {
        int tag = record->tags[i / 2] >> (4 * (i % 2));
        sum += tag & 4 ? .7f : tag & 3 ? .01f : 0;
    }
    return sum;
}

/* Decays and measures taus; 0 if the only one is too soft and `target` more than others can give. */
static int measure_hadrons_of(Rng *rng, const Library *library, const RecordBytes *record, const Symmetry *symmetry,
                              float target, Object *objects, int n, Charged charged[][3], int *n_charged) {
    int n_leptons = 0;
    for (int i = 0; i < n; i++) n_leptons += objects[i].is_lepton;
    int is_decisive = n_leptons == n - 1 && target >= tag_others(record, n_leptons);
    for (int i = 0; i < n; i++) {
        read_extra(rng, library, &record->objects[i], symmetry, &objects[i]);
        if (objects[i].is_lepton) {
            charged[i][0] = (Charged){objects[i].visible, pt(objects[i].visible), objects[i].eta, objects[i].phi};
            n_charged[i] = 1;
            continue;
        }
        n_charged[i] = decay_tau_to_hadrons(rng, library, &objects[i], is_decisive ? MIN_VISIBLE_PT : 0, charged[i]);
        if (n_charged[i] < 0) return 0;
        if (is_decisive && pt2(add(objects[i].deposit, objects[i].extra)) <= RAW_THRESHOLD * RAW_THRESHOLD) return 0;
    }
    return 1;
}

/* One candidate event; 0 if it is not selected. */
static int make_from_library(Rng *rng, const Library *library, float *out, int64_t stride) {
    const Draw *draw = draw_record(rng, library);
    const RecordBytes *record = &library->records[draw - library->draws];
    Object objects[N_OBJECTS];
    Charged charged[N_OBJECTS][3];
    int n_charged[N_OBJECTS], n = begin_objects(rng, library, record, draw, objects);
    if (!n) return 0;
    float flip_eta = sign(rng), flip_phi = sign(rng);
    Symmetry symmetry = {flip_eta, flip_phi, 2 * PI * uniform(rng)};
    place_objects(rng, library, record, &symmetry, objects, n);
    if (!measure_leptons_of(rng, library, record, objects, n)) return 0;
    float target = uniform(rng) * draw->bound;
    if (!measure_hadrons_of(rng, library, record, &symmetry, target, objects, n, charged, n_charged)) return 0;
    int lepton = single_lepton(objects, n);
    if (lepton < 0) return 0;
    TaggedJet jets[MAX_TAGGED];
    int n_recoil = read_jets(rng, library, record, &symmetry, jets);
    Pair sum = read_soft(rng, library, record, &symmetry);
    for (int i = 0; i < n_recoil; i++) add_to(&sum, jets[i].p);
    for (int i = 0; i < n; i++) add_to(&sum, add(objects[i].deposit, objects[i].extra));
    int n_jets = add_object_jets(rng, objects, n, charged, n_charged, jets, n_recoil);
    n_jets = clean_tagged(objects, n, jets, n_jets);
    int tau = choose_tagged(jets, n_jets, objects[lepton].charge, target);
    if (tau < 0) return 0;
    write_tagged(&objects[lepton], jets, n_jets, tau, (Pair){-sum.x, -sum.y}, out, stride);
    return 1;
}

#endif
