/*
** A program that opens the library by name, computes on several threads, and closes it at once, as
** interpreters do when they end: workers that still look for work must find their code there.
**   unload libquern.so
** SPDX-License-Identifier: MIT
*/
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <quern/quern.h>

/* Function `name` of the library, into *fn. */
static int find(void *library, const char *name, void *fn) {
  void *symbol = dlsym(library, name);
  if (!symbol) printf("%s is not there\n", name);
  memcpy(fn, &symbol, sizeof symbol);
  return symbol != NULL;
}

int main(int argc, char **argv) {
  __typeof__(&qn_start) start;
  __typeof__(&qn_op_find) op_find;
  __typeof__(&qn_op_call) op_call;
  __typeof__(&qn_tensor_new) tensor_new;
  qn_config config = {.struct_size = sizeof config, .threads = 4};
  qn_tensor *x, *y;
  int32_t n;
  void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
  if (!library || !find(library, "qn_start", &start) || !find(library, "qn_op_find", &op_find) ||
      !find(library, "qn_op_call", &op_call) || !find(library, "qn_tensor_new", &tensor_new))
    return 1;
  if (start(&config) || tensor_new(QN_F32, 1, (int64_t[]){1 << 20}, &x)) return 1;
  const qn_arg args[] = {{.kind = QN_ARG_TENSOR, .v.tensor = x},
                         {.kind = QN_ARG_TENSOR, .v.tensor = x}};
  if (op_call(op_find("add"), args, 2, &y, 1, &n)) return 1;
  dlclose(library);
  usleep(20000);
  puts("closed");
  return 0;
}
