/*
** A host of a later minor version: the loader, the registry and the host table, built with headers
** that have more fields, on the rest of today's core. Loads a plugin and calls leaky_scale.
**   newer_host PLUGIN.so
** SPDX-License-Identifier: MIT
*/
#include <stdio.h>

#include <quern/quern.h>

static int say(const char *what) {
  const qn_error *e = qn_error_last();
  printf("%s: %s\n%s%s%s\n", what, e->what, e->detail, *e->hint ? "\nhint: " : "", e->hint);
  return 3;
}

int main(int argc, char **argv) {
  qn_tensor *x, *y;
  int32_t n;
  qn_config config = {.struct_size = sizeof config, .threads = 1, .blas = "none"};
  if (argc != 2 || qn_start(&config)) return say("start");
  if (qn_plugin_load(argv[1])) return say("refused");
  const qn_opref *op = qn_op_find("leaky_scale");
  if (!op || qn_tensor_new(QN_F32, 1, (int64_t[]){2}, &x)) return say("op");
  float *values = qn_tensor_view(x)->data;
  values[0] = -2, values[1] = 3;
  qn_arg args[] = {{.kind = QN_ARG_TENSOR, .v.tensor = x}};
  if (qn_op_call(op, args, 1, &y, 1, &n)) return say("call");
  const float *result = qn_tensor_view(y)->data;
  printf("host %d.%d: leaky_scale gives %g %g\n", QN_ABI_MAJOR, QN_ABI_MINOR, (double)result[0],
         (double)result[1]);
  qn_tensor_free(x);
  qn_tensor_free(y);
  qn_stop();
  return 0;
}
