/* Truth values as bits and back. SPDX-License-Identifier: MIT */
#include "ops_help.h"

static void what_is_packed_comes_back(void **state) {
  (void)state;
  for (int64_t n = 0; n < 40; n++) {
    qn_tensor *noise = op_out("normal", ARGS(gc_ints(NULL, SHAPE(n))));
    qn_tensor *x = op_out("gt", ARGS(gc_tensor(noise), gc_num(NULL, 0)));
    qn_tensor *bits = op_out("pack_bits", ARGS(gc_tensor(x)));
    assert_int_equal(qn_tensor_view(bits)->shape[0], (n + 7) / 8);
    qn_tensor *back = op_out("unpack_bits", ARGS(gc_tensor(bits), gc_ints("shape", SHAPE(n))));
    assert_memory_equal(qn_tensor_view(back)->data, qn_tensor_view(x)->data, (size_t)n);
    gc_free((qn_tensor *[]){noise, x, bits, back}, 4);
  }
}

static void low_bit_first(void **state) {
  (void)state;
  qn_tensor *x = BOOLS((1, 0, 1, 0, 0, 0, 0, 0, 1), 9);
  qn_tensor *bits = op_out("pack_bits", ARGS(gc_tensor(x)));
  const uint8_t *b = qn_tensor_view(bits)->data;
  assert_true(b[0] == 5 && b[1] == 1);
  assert_fails(op_status("unpack_bits", ARGS(gc_tensor(bits), gc_ints("shape", SHAPE(17)))),
               QN_E_SHAPE, "17 elements");
  gc_free((qn_tensor *[]){x, bits}, 2);
}

OPS_MAIN(cmocka_unit_test(what_is_packed_comes_back), cmocka_unit_test(low_bit_first))
