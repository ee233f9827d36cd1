/*
** Fitting integers of recordings to the sizes of their slices.
**
** Two recordings fix scale and add, the third checks them. Forms without a constant
** part are tried first, simple monomials before products. The sizes of the trial slices
** are chosen so that no two monomials agree on all of them (trial.c).
** SPDX-License-Identifier: MIT
*/
#include "graph/affine.h"

#include <inttypes.h>
#include <stdio.h>

static int64_t monomial(int32_t m, const qni_extent *e) {
  switch (m) {
  case QNI_M_B: return e->B;
  case QNI_M_N: return e->N;
  case QNI_M_L: return e->L;
  case QNI_M_BL: return e->B * e->L;
  case QNI_M_NL: return e->N * e->L;
  case QNI_M_LL: return e->L * e->L;
  case QNI_M_BLL: return e->B * e->L * e->L;
  case QNI_M_BB: return e->B * e->B;
  case QNI_M_BN: return e->B * e->N;
  case QNI_M_NN: return e->N * e->N;
  default: return 1;
  }
}

int64_t qni_affine_value(const qni_affine *f, const qni_extent *e) {
  return f->scale * monomial(f->monomial, e) + f->add;
}

bool qni_affine_batched(const qni_affine *f) {
  return f->scale && f->monomial != QNI_M_ONE && f->monomial != QNI_M_L && f->monomial != QNI_M_LL;
}

static bool fits(const qni_affines *a, const qni_affine *f, const int64_t *values) {
  for (int32_t t = 0; t < QNI_TRIALS; t++)
    if (qni_affine_value(f, &a->trial[t]) != values[t]) return false;
  return true;
}

static bool fit_monomial(const qni_affines *a, int32_t m, const int64_t *values, qni_affine *f) {
  int64_t x = monomial(m, &a->trial[0]), y = monomial(m, &a->trial[1]);
  if (x == y || (values[1] - values[0]) % (y - x)) return false;
  *f = (qni_affine){.monomial = m, .scale = (values[1] - values[0]) / (y - x)};
  f->add = values[0] - f->scale * x;
  if (f->scale == 0 || (f->scale < 0 && m != QNI_M_L))
    return false; /* nothing shrinks as samples are added */
  return fits(a, f, values);
}

static bool fit(const qni_affines *a, const int64_t *values, qni_affine *f) {
  *f = (qni_affine){.add = values[0]};
  if (fits(a, f, values)) return true;
  for (int32_t m = QNI_M_B; m < QNI_M_COUNT; m++)
    if (fit_monomial(a, m, values, f) && f->add == 0) return true;
  for (int32_t m = QNI_M_B; m < QNI_M_COUNT; m++)
    if (fit_monomial(a, m, values, f)) return true;
  return false;
}

static qn_status keep(qni_affines *a, const qni_affine *f, int32_t *found) {
  for (int32_t i = 0; i < a->n; i++) {
    const qni_affine *g = &a->list[i];
    if (g->monomial == f->monomial && g->scale == f->scale && g->add == f->add)
      return *found = i, QN_OK;
  }
  if (a->n == a->max) {
    int32_t max = a->max ? 2 * a->max : 64;
    qni_affine *grown = qni_mem_realloc(a->list, (size_t)max * sizeof *grown);
    if (!grown) return QN_E_NOMEM;
    a->list = grown;
    a->max = max;
  }
  *found = a->n;
  a->list[a->n++] = *f;
  return QN_OK;
}

qn_status qni_affines_start(qni_affines *a, const qni_extent *trials) {
  int32_t zero;
  *a = (qni_affines){0};
  for (int32_t t = 0; t < QNI_TRIALS; t++) a->trial[t] = trials[t];
  return keep(a, &(qni_affine){0}, &zero);
}

void qni_affines_free(qni_affines *a) {
  qni_mem_free(a->list);
  *a = (qni_affines){0};
}

qn_status qni_affine_fit(qni_affines *a, const int64_t *values, int32_t *found) {
  qni_affine f;
  *found = -1;
  return fit(a, values, &f) ? keep(a, &f, found) : QN_OK;
}

char *qni_affine_text(const qni_affine *f, char *buf, size_t size) {
  static const char *const names[] = {"",    "B",     "N",   "L",   "B L", "N L",
                                      "L L", "B L L", "B B", "B N", "N N"};
  if (f->monomial == QNI_M_ONE)
    snprintf(buf, size, "%" PRId64, f->scale + f->add);
  else if (f->add)
    snprintf(buf, size, "%" PRId64 " %s %+" PRId64, f->scale, names[f->monomial], f->add);
  else if (f->scale == 1)
    snprintf(buf, size, "%s", names[f->monomial]);
  else
    snprintf(buf, size, "%" PRId64 " %s", f->scale, names[f->monomial]);
  return buf;
}
