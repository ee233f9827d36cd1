/*
** Weights packed once per step.
**
** A linear map reads its weights as the second operand of two products: of W' in forward, of W in
** backward. Both are packed (kernels/gemm.h) when a step begins, after what runs once per step, and
** all slices on all workers read the same panels. Which operands there are is seen when the captured
** step is checked: each product of f32 whose second operand is no slice's own. A pruning mask needs no
** pass of its own: the optimizer leaves zeros, and zeros are packed. Packing changes no bits.
** SPDX-License-Identifier: MIT
*/
#include "graph/packs.h"

#include "exec/gemm.h"
#include "exec/pool.h"

void qni_packs_stop(qni_packs *packs) {
  for (int32_t i = 0; i < packs->n; i++)
    qni_mem_buffer_free(packs->list[i].panels, packs->list[i].bytes);
  qni_mem_free(packs->list);
  *packs = (qni_packs){0};
}

/* ---- Which ---- */

/* Memory that slices only read, and its bytes; 0: other memory. */
static int64_t steady_bytes(const qni_program *p, int32_t buffer) {
  const qni_pbuffer *b = &p->buffer[buffer];
  const bool hoisted = qni_plan_in_step(b);
  if (b->varies || b->wide || b->state || b->uniform || b->direct || !(hoisted || b->holder))
    return 0;
  for (int32_t i = 0; i < p->n_entries; i++)
    if (p->when[i] != QNI_WHEN_DEAD && p->when[i] != QNI_WHEN_STEP &&
        qni_entry_puts(p, &p->entry[i], buffer))
      return 0;
  return hoisted ? p->affines.list[b->bytes].add : (int64_t)b->holder->storage->bytes;
}

static void note(qni_packs *packs, const qn_gemm *g) {
  const qni_program *p = packs->p;
  for (int32_t b = 0; b < p->n_buffers; b++) {
    const char *base = packs->base[b];
    const int64_t at = (const char *)g->b - base;
    if (!base || (const char *)g->b < base || at >= steady_bytes(p, b)) continue;
    if (packs->n == packs->max) {
      const int32_t max = 2 * packs->max + 16;
      qni_pack *grown = qni_mem_realloc(packs->list, (size_t)max * sizeof *grown);
      if (!grown) return qni_error_reset(); /* products do without */
      packs->list = grown;
      packs->max = max;
    }
    packs->list[packs->n++] = (qni_pack){.buffer = b, .at = at, .shape = *g};
    return;
  }
}

/* A and C, and what is done with C, do not matter. */
static bool same(const qni_pack *x, const qn_gemm *g) {
  const qn_gemm *s = &x->shape;
  return s->b == g->b && s->n == g->n && s->k == g->k && s->b_row == g->b_row &&
         s->b_col == g->b_col;
}

const void *qni_packs_find(qni_packs *packs, const qn_gemm *g) {
  if (g->dtype != QN_F32 || g->batch != 1 || g->a_col != 1 || g->n < 1 || g->k < 1) return NULL;
  for (int32_t i = 0; i < packs->n; i++)
    if (same(&packs->list[i], g)) return packs->list[i].panels;
  if (packs->base && !qni_pool_inside()) note(packs, g);
  return NULL;
}

/* ---- Packing ---- */

/* Items are panels: those of the first operand, of the second, and so on. */
static qn_status pack_range(void *ctx, int64_t begin, int64_t end) {
  const qni_packs *packs = ctx;
  for (int32_t i = 0; i < packs->n && begin < end; i++) {
    const qni_pack *x = &packs->list[i];
    const int64_t last = end < x->n_panels ? end : x->n_panels;
    if (begin < last) qni_gemm_pack(&x->shape, begin, last, x->panels);
    begin = begin < x->n_panels ? 0 : begin - x->n_panels;
    end -= x->n_panels;
  }
  return QN_OK;
}

qn_status qni_packs_fill(qni_packs *packs, char *const *base) {
  int64_t panels = 0;
  for (int32_t i = 0; i < packs->n; i++) {
    qni_pack *x = &packs->list[i];
    x->shape.b = base[x->buffer] + x->at;
    if (!x->panels) {
      x->bytes = qni_gemm_pack_bytes(&x->shape, &x->n_panels);
      x->panels = qni_mem_buffer(x->bytes);
      if (!x->panels) return QN_E_NOMEM;
      packs->bytes += x->bytes;
    }
    panels += x->n_panels;
  }
  return qni_pool_run(panels, 2, pack_range, packs);
}
