/*
** The check of documents: every op and thing has a summary, a text, an example; ops that come
** from a paper cite it. Whether examples run and print what they say is checked from Lua.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "check/list.h"
#include "registry/types.h"

static bool given(const char *text) { return text && text[strspn(text, " \n\t")]; }

static void want(qni_check_context *x, const char *kind, const char *name, const char *summary,
                 const char *doc, const char *example) {
  if (!given(summary)) qni_check_find(x, "%s %s has no summary: one line", kind, name);
  if (!given(doc))
    qni_check_find(x, "%s %s has no doc: say the formula, shapes, errors", kind, name);
  if (!given(example)) qni_check_find(x, "%s %s has no example: one Lua statement", kind, name);
}

static qn_status run_docs(qni_check_context *x) {
  for (int32_t i = 0; i < x->n_ops; i++) {
    const qn_op *op = x->ops[i]->op;
    want(x, "op", x->ops[i]->name, op->summary, op->doc, op->example);
  }
  for (int32_t i = 0; i < qni_type_count(); i++) {
    const qni_type *t = qni_type_at(i);
    if (t->plugin->entry == x->entry)
      want(x, qni_kind_name(t->kind), t->name, t->head->summary, t->head->doc, t->head->example);
  }
  return QN_OK;
}

const qni_check qni_check_docs = {
    "docs", "L4", "every op has a text and an example that runs and prints what it says", true,
    run_docs};
