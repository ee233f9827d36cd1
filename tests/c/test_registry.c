/* The registry: atomic publishing, refusals, lookup. SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"
#include "registry/registry.h"

static qn_status nothing(const qn_host *h, qn_call *c) {
  (void)h, (void)c;
  return QN_OK;
}

static const qn_op good = {.struct_size = sizeof(qn_op),
                           .det = QN_DET_BITWISE,
                           .batch = QN_BATCH_ROWS,
                           .schema = "zz_twice(x: f[...]) -> y: f[...]",
                           .summary = "2 x",
                           .forward = nothing};

static qn_op with_schema(const char *schema) {
  qn_op op = good;
  op.schema = schema;
  return op;
}

static qn_status publish(const char *id, const char *name, const qn_op *a, const qn_op *b) {
  char i[64], n[64], v[] = "1.0.0", path[] = "test";
  strcpy(i, id), strcpy(n, name);
  const qn_plugin entry = {.name = name};
  qni_plugin p = {.id = i, .name = n, .version = v, .path = path, .entry = &entry};
  const qn_op *ops[] = {a, b, NULL};
  qni_error_reset();
  return qni_registry_publish(&p, ops);
}

static int set_up(void **state) {
  (void)state;
  qni_error_reset();
  return qni_registry_start();
}

static int tear_down(void **state) {
  (void)state;
  qni_registry_stop();
  return 0;
}

static void core_ops_are_listed_in_order_of_name(void **state) {
  (void)state;
  int32_t n = qni_registry_op_count();
  assert_true(n > 0 && qni_registry_plugin_count() == 1);
  assert_string_equal(qni_registry_plugin(0)->id, "core");
  assert_int_equal(qni_registry_plugin(0)->n_ops, n);
  for (int32_t i = 1; i < n; i++)
    assert_true(strcmp(qni_registry_op(i - 1)->name, qni_registry_op(i)->name) < 0);
  for (int32_t i = 0; i < n; i++)
    assert_ptr_equal(qni_registry_find(qni_registry_op(i)->name), qni_registry_op(i));
  assert_null(qni_registry_op(n));
  assert_null(qni_registry_op(-1));
  assert_int_equal(qni_registry_start(), QN_OK);
  assert_int_equal(qni_registry_op_count(), n);
}

static void every_core_schema_prints_to_itself(void **state) {
  (void)state;
  for (int32_t i = 0; i < qni_registry_op_count(); i++) {
    qni_schema *again;
    assert_int_equal(qni_schema_parse(qni_registry_op(i)->schema->canonical, &again), QN_OK);
    assert_string_equal(again->canonical, qni_registry_op(i)->schema->canonical);
    assert_true(again->hash == qni_registry_op(i)->schema->hash);
    qni_schema_free(again);
  }
}

static void published_op_is_found_by_name_and_plugin(void **state) {
  (void)state;
  int32_t n = qni_registry_op_count();
  assert_int_equal(publish("org.a.mill", "mill", &good, NULL), QN_OK);
  assert_int_equal(qni_registry_op_count(), n + 1);
  const qn_opref *op = qni_registry_find("zz_twice");
  assert_non_null(op);
  assert_ptr_equal(qni_registry_find("mill.zz_twice"), op);
  assert_ptr_equal(qni_registry_find("org.a.mill.zz_twice"), op);
  assert_string_equal(op->plugin->id, "org.a.mill");
  assert_int_equal(op->n_inputs_fixed, 1);
  assert_null(qni_registry_find("core.zz_twice"));
}

static void shared_names_are_ambiguous_and_core_names_stay(void **state) {
  (void)state;
  char schema[100] = "";
  strcat(strcat(schema, qni_registry_op(0)->name), "(x: f[]) -> y: f[]");
  const qn_op other = with_schema(schema);
  const qn_opref *first = qni_registry_op(0);
  char name[100];
  strcpy(name, first->name);
  assert_int_equal(publish("a.a", "a", &good, &other), QN_OK);
  assert_int_equal(publish("b.b", "b", &good, NULL), QN_OK);
  assert_ptr_equal(qni_registry_find(name), first);
  qni_error_reset();
  assert_null(qni_registry_find("zz_twice"));
  assert_int_equal(qn_error_last()->status, QN_E_ARG);
  assert_string_equal(qn_error_last()->hint, "write a.zz_twice or b.zz_twice");
  assert_string_equal(qni_registry_find("b.zz_twice")->plugin->id, "b.b");
}

static void unknown_name_suggests_the_nearest(void **state) {
  (void)state;
  assert_int_equal(publish("a.a", "a", &good, NULL), QN_OK);
  qni_error_reset();
  assert_null(qni_registry_find("zz_twcie"));
  assert_int_equal(qn_error_last()->status, QN_E_NOT_FOUND);
  assert_string_equal(qn_error_last()->hint, "did you mean 'zz_twice'?");
}

static void refused(const qn_op *bad, qn_status status, const char *what) {
  int32_t n = qni_registry_op_count(), plugins = qni_registry_plugin_count();
  assert_int_equal(publish("a.a", "a", &good, bad), status);
  if (!strstr(qn_error_last()->what, what)) fail_msg("said \"%s\"", qn_error_last()->what);
  assert_int_equal(qni_registry_op_count(), n);
  assert_int_equal(qni_registry_plugin_count(), plugins);
  qni_error_reset();
  assert_null(qni_registry_find("zz_twice"));
}

static void bad_op_refuses_the_whole_plugin(void **state) {
  (void)state;
  qn_op bad = with_schema("zz_b(x: f[) -> y: f[]");
  refused(&bad, QN_E_FORMAT, "schema: expected");
  assert_int_equal(publish("a.a", "a", &good, &bad), QN_E_FORMAT);
  assert_string_equal(qn_error_last()->op, bad.schema);
  assert_string_equal(qn_error_last()->plugin, "a.a");
  bad = good, refused(&bad, QN_E_PLUGIN, "defines zz_twice twice");
  bad = with_schema("zz_b(x: f[]) -> y: f[]"), bad.flags = 1u << 20,
  refused(&bad, QN_E_VERSION, "unknown bits in flags: 0x100000");
  bad = with_schema("zz_b(x: f[]) -> y: f[]"), bad.det = 7, refused(&bad, QN_E_PLUGIN, "det = 7");
  bad = with_schema("zz_b(x: f[]) -> y: f[]"), bad.batch = -1,
  refused(&bad, QN_E_PLUGIN, "batch = -1");
  bad = with_schema("zz_b(x: f[]) -> y: f[]"), bad.struct_size = 8,
  refused(&bad, QN_E_PLUGIN, "struct_size = 8");
  bad = with_schema("zz_b(x: f[]) -> y: f[]"), bad.forward = NULL,
  refused(&bad, QN_E_PLUGIN, "y is not a view");
  bad = with_schema("zz_b(x: f[]) -> y: f[]"), bad.summary = NULL,
  refused(&bad, QN_E_PLUGIN, "no summary");
  bad = with_schema("zz_b(x: f[]) -> y: f[M]"), refused(&bad, QN_E_PLUGIN, "no infer function");
  bad = with_schema("Zz(x: f[]) -> y: f[]"), refused(&bad, QN_E_PLUGIN, "names are lower-case");
  bad = with_schema(NULL), refused(&bad, QN_E_PLUGIN, "has no schema");
  bad = with_schema("zz_v(x: f[N]) -> y&x: f[N]"), bad.forward = NULL;
  assert_int_equal(publish("v.v", "v", &bad, NULL), QN_OK);
}

static void plugin_itself_is_checked(void **state) {
  (void)state;
  assert_int_equal(publish("a b", "a", &good, NULL), QN_E_PLUGIN);
  assert_int_equal(publish("a.b", "1a", &good, NULL), QN_E_PLUGIN);
  assert_int_equal(publish("a.b", "a", &good, NULL), QN_OK);
  assert_int_equal(publish("a.b", "c", &good, NULL), QN_E_STATE);
}

static void table_of_a_newer_header_is_read_as_far_as_known(void **state) {
  (void)state;
  struct {
    qn_op op;
    void *later[4];
  } newer = {.op = good};
  newer.op.struct_size = sizeof newer;
  assert_int_equal(publish("a.b", "a", &newer.op, NULL), QN_OK);
  assert_int_equal(qni_registry_find("zz_twice")->op->struct_size, sizeof(qn_op));
}

static void failed_allocation_leaves_the_registry_as_it_was(void **state) {
  (void)state;
  int32_t n = qni_registry_op_count();
  const qn_op b = with_schema("zz_b(x: f[], *, e: enum{a|b} = a) -> y: f[]");
  for (int i = 1;; i++) {
    qni_error_reset();
    qni_mem_fail_after(i, 0);
    qn_status st = publish("a.a", "a", &good, &b);
    qni_mem_fail_after(0, 0);
    if (!st) {
      assert_true(i > 8);
      return;
    }
    assert_int_equal(st, QN_E_NOMEM);
    assert_int_equal(qni_registry_op_count(), n);
    assert_int_equal(qni_registry_plugin_count(), 1);
  }
}

static void distances_follow_common_slips(void **state) {
  (void)state;
  assert_int_equal(qni_edit_distance("relu", "rleu"), 1);
  assert_int_equal(qni_edit_distance("kitten", "sitting"), 3);
  assert_int_equal(qni_edit_distance("", "abc"), 3);
  static const char *const known[] = {"epochs", "batch", "learning_rate"};
  assert_string_equal(qni_nearest("epoch", known, 3), "epochs");
  assert_string_equal(qni_nearest("Batch", known, 3), "batch");
  assert_string_equal(qni_nearest("learning", known, 3), "learning_rate");
  assert_null(qni_nearest("dropout", known, 3));
}

#define IN_REGISTRY(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_REGISTRY(core_ops_are_listed_in_order_of_name),
      IN_REGISTRY(every_core_schema_prints_to_itself),
      IN_REGISTRY(published_op_is_found_by_name_and_plugin),
      IN_REGISTRY(shared_names_are_ambiguous_and_core_names_stay),
      IN_REGISTRY(unknown_name_suggests_the_nearest),
      IN_REGISTRY(bad_op_refuses_the_whole_plugin),
      IN_REGISTRY(plugin_itself_is_checked),
      IN_REGISTRY(table_of_a_newer_header_is_read_as_far_as_known),
      IN_REGISTRY(failed_allocation_leaves_the_registry_as_it_was),
      cmocka_unit_test(distances_follow_common_slips),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
