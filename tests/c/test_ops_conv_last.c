/*
** Channels last: convolution, pooling, upsampling and batch norm give what they give with
** channels first, forward and backward, and pass the gradient check.
** SPDX-License-Identifier: MIT
*/
#include "check.h"
#include "gradcheck.h"

#include "graph/call.h"
#include "tensor/tensor.h"

static qn_tensor *noise(uint64_t stream, int32_t ndim, const int64_t *shape, int32_t dtype) {
  qn_tensor *t;
  assert_ok(qn_tensor_new(dtype, ndim, shape, &t));
  for (int64_t i = 0; i < qni_tensor_count(t); i++)
    qni_dtype_store(dtype, (char *)t->view.data + i * (int64_t)qni_dtype_size(dtype),
                    gc_noise(stream, i));
  return t;
}

static double at(const qn_tensor *t, int64_t i) {
  return qni_dtype_load(t->view.dtype,
                        (char *)t->view.data + i * (int64_t)qni_dtype_size(t->view.dtype));
}

/* [N,C,...] -> [N,...,C], or back. */
static qn_tensor *turned(const qn_tensor *t, bool back) {
  const qn_view *v = &t->view;
  int64_t space = 1, shape[QN_MAX_DIMS] = {v->shape[0]};
  const int64_t C = v->shape[back ? v->ndim - 1 : 1];
  for (int32_t d = 0; d < v->ndim - 2; d++) {
    const int64_t size = v->shape[d + (back ? 1 : 2)];
    shape[d + (back ? 2 : 1)] = size;
    space *= size;
  }
  shape[back ? 1 : v->ndim - 1] = C;
  qn_tensor *r;
  assert_ok(qn_tensor_new(v->dtype, v->ndim, shape, &r));
  for (int64_t n = 0; n < v->shape[0]; n++)
    for (int64_t c = 0; c < C; c++)
      for (int64_t p = 0; p < space; p++) {
        const int64_t first = (n * C + c) * space + p, last = (n * space + p) * C + c;
        const size_t size = qni_dtype_size(v->dtype);
        memcpy((char *)r->view.data + (back ? first : last) * (int64_t)size,
               (char *)v->data + (back ? last : first) * (int64_t)size, size);
      }
  return r;
}

static void assert_close(const qn_tensor *a, const qn_tensor *b, double tolerance) {
  assert_int_equal(qni_tensor_count(a), qni_tensor_count(b));
  assert_int_equal(a->view.ndim, b->view.ndim);
  for (int32_t d = 0; d < a->view.ndim; d++) assert_int_equal(a->view.shape[d], b->view.shape[d]);
  for (int64_t i = 0; i < qni_tensor_count(a); i++) {
    const double x = at(a, i), y = at(b, i);
    if (!(fabs(x - y) <= tolerance * fmax(1, fabs(y))))
      fail_msg("element %d: %.9g, expected %.9g", (int)i, x, y);
  }
}

/* Runs op, then backward from <u, y> with u noise; gradients of the first n arguments. */
static qn_tensor *run(const char *op, qn_arg *args, int32_t n_args, int32_t n, int32_t n_outs,
                      bool last, qn_tensor **grads) {
  qn_tensor *out[3] = {0}, *loss, *product;
  for (int32_t i = 0; i < n; i++) assert_ok(qn_tensor_require_grad(args[i].v.tensor, 1));
  assert_ok(qni_call_named(op, args, n_args, out, n_outs));
  qn_tensor *shape = last ? turned(out[0], true) : qn_tensor_retain(out[0]);
  qn_tensor *first = noise(77, shape->view.ndim, shape->view.shape, shape->view.dtype);
  qn_tensor *u = last ? turned(first, false) : qn_tensor_retain(first);
  qn_arg pair[] = {gc_tensor(out[0]), gc_tensor(u)};
  assert_ok(qni_call_named("mul", pair, 2, &product, 1));
  pair[0] = gc_tensor(product);
  assert_ok(qni_call_named("sum", pair, 1, &loss, 1));
  assert_ok(qn_backward(loss, NULL, 0));
  for (int32_t i = 0; i < n; i++) grads[i] = qn_tensor_retain(qn_tensor_grad(args[i].v.tensor));
  for (int32_t i = 1; i < n_outs; i++) qn_tensor_free(out[i]);
  qn_tensor_free(shape), qn_tensor_free(first), qn_tensor_free(u);
  qn_tensor_free(product), qn_tensor_free(loss);
  return out[0];
}

/* The same values in another element type. */
static qn_tensor *as_type(const qn_tensor *t, int32_t dtype) {
  qn_tensor *r;
  assert_ok(qn_tensor_new(dtype, t->view.ndim, t->view.shape, &r));
  for (int64_t i = 0; i < qni_tensor_count(t); i++)
    qni_dtype_store(dtype, (char *)r->view.data + i * (int64_t)qni_dtype_size(dtype), at(t, i));
  return r;
}

/*
** The call with channels first, in f64, against the same in the arguments' own type, in both
** layouts. args[0] is the image; the n leading arguments have gradients. args has room for one
** more. Frees all tensors among the arguments.
*/
static void layouts_agree(const char *op, const qn_arg *args, int32_t n_args, int32_t n,
                          double tolerance) {
  qn_tensor *expected[3] = {0}, *y = NULL;
  const int32_t own = args[0].v.tensor->view.dtype;
  for (int32_t way = 0; way < 3; way++) { /* f64 first; own first; own last */
    qn_arg a[10];
    qn_tensor *g[3];
    const bool last = way == 2;
    memcpy(a, args, (size_t)n_args * sizeof *a);
    for (int32_t i = 0; i < n; i++) {
      qn_tensor *typed = as_type(args[i].v.tensor, way ? own : QN_F64);
      a[i] = gc_tensor(last && i == 0 ? turned(typed, false) : qn_tensor_retain(typed));
      qn_tensor_free(typed);
    }
    a[n_args] = gc_str("layout", last ? "nhwc" : "nchw");
    qn_tensor *z = run(op, a, n_args + 1, n, 1, last, g);
    if (last) {
      qn_tensor *z1 = turned(z, true), *dx = turned(g[0], true);
      qn_tensor_free(z), qn_tensor_free(g[0]);
      z = z1, g[0] = dx;
    }
    for (int32_t i = 0; i < n; i++) {
      if (way)
        assert_close(g[i], expected[i], tolerance), qn_tensor_free(g[i]);
      else
        expected[i] = g[i];
      qn_tensor_free(a[i].v.tensor);
    }
    if (way)
      assert_close(z, y, tolerance), qn_tensor_free(z);
    else
      y = z;
  }
  for (int32_t i = 0; i < n; i++) qn_tensor_free(expected[i]), qn_tensor_free(args[i].v.tensor);
  qn_tensor_free(y);
}

struct conv_case {
  int64_t N, C, H, W, O, k, stride, padding, dilation, groups;
};

static void convolve_both(const struct conv_case *t, int32_t dtype) {
  qn_tensor *x = noise(1, 4, (int64_t[]){t->N, t->C, t->H, t->W}, dtype),
            *w = noise(2, 4, (int64_t[]){t->O, t->C / t->groups, t->k, t->k}, dtype),
            *b = noise(3, 1, (int64_t[]){t->O}, dtype);
  qn_arg args[9] = {gc_tensor(x),
                    gc_tensor(w),
                    gc_tensor(b),
                    gc_int("stride", t->stride),
                    gc_int("padding", t->padding),
                    gc_int("dilation", t->dilation),
                    gc_int("groups", t->groups)};
  layouts_agree("conv2d", args, 7, 3, dtype == QN_F32 ? 1e-4 : 1e-12);
}

/* N C H W O k stride padding dilation groups: sizes of networks, edges of tiles, oddities. */
static const struct conv_case cases[] = {
    {2, 4, 7, 6, 6, 3, 1, 1, 1, 1},     {2, 4, 7, 6, 6, 3, 2, 1, 1, 2},
    {1, 3, 9, 9, 5, 3, 1, 1, 2, 1},     {3, 2, 5, 5, 7, 5, 3, 2, 1, 1},
    {2, 6, 6, 5, 3, 1, 1, 0, 1, 1},     {2, 6, 7, 5, 4, 1, 2, 0, 1, 1},
    {3, 3, 32, 32, 16, 3, 1, 1, 1, 1},  {2, 16, 32, 32, 16, 3, 1, 1, 1, 1},
    {2, 16, 16, 16, 32, 3, 2, 1, 1, 1}, {9, 32, 8, 8, 64, 3, 1, 1, 1, 1},
    {17, 48, 4, 4, 80, 3, 1, 1, 1, 1},  {2, 20, 14, 14, 33, 3, 1, 1, 1, 1},
    {2, 17, 7, 7, 19, 3, 1, 2, 1, 1},   {1, 8, 20, 22, 24, 7, 2, 3, 1, 1},
    {2, 5, 3, 3, 4, 3, 1, 0, 1, 1},     {2, 5, 2, 2, 4, 3, 1, 4, 1, 1},
    {2, 70, 9, 9, 37, 3, 2, 1, 1, 1},   {5, 64, 5, 5, 129, 3, 1, 1, 1, 1},
    {3, 67, 6, 7, 3, 1, 1, 0, 1, 1},
};

static void convolutions_agree_in_both_layouts(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) convolve_both(&cases[i], QN_F32);
  for (size_t i = 0; i < 6; i++) convolve_both(&cases[i], QN_F64);
}

static void series_and_transposes_agree_in_both_layouts(void **state) {
  (void)state;
  qn_tensor *w = noise(2, 3, (int64_t[]){4, 3, 3}, QN_F32);
  qn_arg series[8] = {gc_tensor(noise(1, 3, (int64_t[]){2, 3, 9}, QN_F32)), gc_tensor(w),
                      gc_int("stride", 2), gc_int("padding", 1)};
  layouts_agree("conv1d", series, 4, 2, 1e-5);
  w = noise(2, 4, (int64_t[]){4, 3, 3, 3}, QN_F32);
  qn_arg up[8] = {gc_tensor(noise(1, 4, (int64_t[]){2, 4, 5, 4}, QN_F32)), gc_tensor(w),
                  gc_int("stride", 2), gc_int("padding", 1)};
  layouts_agree("conv_transpose2d", up, 4, 2, 1e-5);
}

static void pooling_agrees_in_both_layouts(void **state) {
  (void)state;
  const int64_t shape[] = {2, 5, 7, 8};
  for (int dtype = QN_F32; dtype <= QN_F64; dtype++) {
    qn_arg window[6] = {gc_tensor(noise(1, 4, shape, dtype)), gc_int("kernel", 3),
                        gc_int("stride", 2), gc_int("padding", 1)};
    layouts_agree("max_pool", window, 4, 1, 1e-6);
    window[0] = gc_tensor(noise(1, 4, shape, dtype));
    layouts_agree("avg_pool", window, 4, 1, 1e-6);
    qn_arg size[4] = {gc_tensor(noise(1, 4, shape, dtype)), gc_int("size", 3)};
    layouts_agree("adaptive_avg_pool", size, 2, 1, 1e-6);
    qn_arg scale[5] = {gc_tensor(noise(1, 4, shape, dtype)), gc_int("scale", 2),
                       gc_str("mode", "bilinear")};
    layouts_agree("upsample", scale, 3, 1, 1e-6);
  }
}

static void channels_last_differentiates_to_second_order(void **state) {
  (void)state;
  qn_tensor *x = noise(1, 4, (int64_t[]){2, 4, 3, 2}, QN_F64),
            *w = noise(2, 4, (int64_t[]){4, 1, 2, 2}, QN_F64),
            *b = noise(3, 1, (int64_t[]){4}, QN_F64);
  qn_arg args[] = {gc_tensor(x),
                   gc_tensor(w),
                   gc_tensor(b),
                   gc_int("stride", 2),
                   gc_int("padding", 1),
                   gc_int("groups", 2),
                   gc_str("layout", "nhwc")};
  assert_true(gradcheck("conv2d", 7, args, GRADCHECK_SECOND));
  qn_tensor *g = noise(4, 4, (int64_t[]){1, 2, 2, 4}, QN_F64),
            *w2 = noise(5, 4, (int64_t[]){4, 2, 3, 2}, QN_F64);
  qn_arg transposed[] = {gc_tensor(g), gc_tensor(w2), gc_int("stride", 2),
                         gc_str("layout", "nhwc")};
  assert_true(gradcheck("conv_transpose2d", 4, transposed, GRADCHECK_SECOND));
  qn_tensor_free(x), qn_tensor_free(w), qn_tensor_free(b), qn_tensor_free(g), qn_tensor_free(w2);
}

/* batch_norm_act against relu(batch_norm + residual) of the other layout. */
static void batch_norm_act_is_batch_norm_with_residual_and_relu(void **state) {
  (void)state;
  const int64_t shapes[][4] = {{3, 5, 4, 3}, {9, 16, 16, 16}, {2, 40, 31, 29}};
  for (int k = 0; k < 6; k++) {
    const int32_t dtype = k % 2 ? QN_F64 : QN_F32;
    const int64_t *shape = shapes[k / 2], C = shape[1];
    qn_tensor *x = noise(1, 4, shape, dtype), *w = noise(2, 1, &C, dtype),
              *b = noise(3, 1, &C, dtype), *r = noise(4, 4, shape, dtype);
    qn_tensor *xl = turned(x, false), *rl = turned(r, false), *g[3], *out[3];
    qn_tensor *wl = noise(2, 1, &C, dtype), *bl = noise(3, 1, &C, dtype);
    qn_tensor *leaves[] = {x, w, b, r};
    for (int i = 0; i < 4; i++) assert_ok(qn_tensor_require_grad(leaves[i], 1));
    qn_arg plain[] = {gc_tensor(x), gc_tensor(w), gc_tensor(b)}, two[2], one[1];
    qn_tensor *z, *y, *u = noise(77, 4, shape, dtype), *product, *loss;
    assert_ok(qni_call_named("batch_norm", plain, 3, out, 3));
    two[0] = gc_tensor(out[0]), two[1] = gc_tensor(r);
    assert_ok(qni_call_named("add", two, 2, &z, 1));
    one[0] = gc_tensor(z);
    assert_ok(qni_call_named("relu", one, 1, &y, 1));
    two[0] = gc_tensor(y), two[1] = gc_tensor(u);
    assert_ok(qni_call_named("mul", two, 2, &product, 1));
    one[0] = gc_tensor(product);
    assert_ok(qni_call_named("sum", one, 1, &loss, 1));
    assert_ok(qn_backward(loss, NULL, 0));
    assert_ok(qn_tensor_require_grad(rl, 1));
    qn_arg residual = gc_tensor(rl);
    residual.name = "residual";
    qn_arg fused[] = {gc_tensor(xl), gc_tensor(wl), gc_tensor(bl), residual, gc_str("act", "relu")};
    qn_tensor *yl = run("batch_norm_act", fused, 5, 3, 3, true, g);
    const double tolerance = dtype == QN_F32 ? 2e-4 : 1e-11;
    qn_tensor *pairs[][2] = {{turned(yl, true), y},
                             {turned(g[0], true), qn_tensor_grad(x)},
                             {turned(qn_tensor_grad(rl), true), qn_tensor_grad(r)},
                             {qn_tensor_retain(g[1]), qn_tensor_grad(w)},
                             {qn_tensor_retain(g[2]), qn_tensor_grad(b)}};
    for (int i = 0; i < 5; i++)
      assert_close(pairs[i][0], pairs[i][1], tolerance), qn_tensor_free(pairs[i][0]);
    qn_tensor *all[] = {x,  w, b,       r,    xl,     rl,     wl,     bl,   z,    y,
                        yl, u, product, loss, out[0], out[1], out[2], g[0], g[1], g[2]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) qn_tensor_free(all[i]);
  }
}

static void batch_norm_act_differentiates(void **state) {
  (void)state;
  qn_tensor *x = noise(3, 3, (int64_t[]){3, 4, 2}, QN_F64),
            *w = noise(4, 1, (int64_t[]){2}, QN_F64), *b = noise(5, 1, (int64_t[]){2}, QN_F64),
            *r = noise(9, 3, (int64_t[]){3, 4, 2}, QN_F64),
            *mean = noise(6, 1, (int64_t[]){2}, QN_F64), *var = noise(7, 1, (int64_t[]){2}, QN_F64);
  for (int i = 0; i < 2; i++) ((double *)var->view.data)[i] += 1.5;
  qn_arg train[] = {gc_tensor(x), gc_tensor(w), gc_tensor(b), gc_tensor(r), gc_str("act", "relu")};
  train[3].name = "residual";
  assert_true(gradcheck("batch_norm_act", 3, train, GRADCHECK_FIRST));
  assert_true(gradcheck("batch_norm_act", 5, train, GRADCHECK_FIRST));
  qn_arg no_residual[] = {gc_tensor(x), gc_tensor(w), gc_tensor(b), gc_str("act", "relu")};
  assert_true(gradcheck("batch_norm_act", 4, no_residual, GRADCHECK_FIRST));
  qn_arg eval[] = {gc_tensor(x),   gc_tensor(w), gc_tensor(b),         gc_tensor(mean),
                   gc_tensor(var), gc_tensor(r), gc_str("act", "relu")};
  assert_true(gradcheck("batch_norm_act", 7, eval, GRADCHECK_FIRST));
  qn_tensor_free(x), qn_tensor_free(w), qn_tensor_free(b), qn_tensor_free(r), qn_tensor_free(mean);
  qn_tensor_free(var);
}

/* The bits of results and gradients of a small residual block. */
static uint64_t fingerprint(void) {
  qn_tensor *x = noise(1, 4, (int64_t[]){19, 8, 8, 16}, QN_F32),
            *w = noise(2, 4, (int64_t[]){16, 16, 3, 3}, QN_F32), *out[3], *y, *s;
  uint64_t hash = 1469598103934665603u;
  assert_ok(qn_tensor_require_grad(x, 1));
  assert_ok(qn_tensor_require_grad(w, 1));
  qn_arg args[] = {gc_tensor(x), gc_tensor(w), gc_int("padding", 1), gc_str("layout", "nhwc")};
  assert_ok(qni_call_named("conv2d", args, 4, &y, 1));
  qn_arg norm[] = {gc_tensor(y), gc_tensor(x), gc_str("act", "relu")};
  norm[1].name = "residual";
  assert_ok(qni_call_named("batch_norm_act", norm, 3, out, 3));
  qn_arg one[] = {gc_tensor(out[0])};
  qn_tensor *q;
  assert_ok(qni_call_named("square", one, 1, &q, 1));
  one[0] = gc_tensor(q);
  assert_ok(qni_call_named("sum", one, 1, &s, 1));
  assert_ok(qn_backward(s, NULL, 0));
  const qn_tensor *all[] = {y, out[0], qn_tensor_grad(x), qn_tensor_grad(w)};
  for (int i = 0; i < 4; i++)
    for (int64_t j = 0; j < qni_tensor_count(all[i]); j++)
      hash = (hash ^ ((const uint32_t *)all[i]->view.data)[j]) * 1099511628211u;
  qn_tensor_free(x), qn_tensor_free(w), qn_tensor_free(y), qn_tensor_free(q), qn_tensor_free(s);
  for (int i = 0; i < 3; i++) qn_tensor_free(out[i]);
  return hash;
}

static void bits_do_not_depend_on_the_workers(void **state) {
  (void)state;
  assert_ok(qn_threads_set(1));
  uint64_t one = fingerprint();
  const int32_t workers[] = {2, 3, 7};
  for (int i = 0; i < 3; i++) {
    assert_ok(qn_threads_set(workers[i]));
    assert_true(fingerprint() == one);
  }
  assert_ok(qn_threads_set(2));
}

static void misfits_speak_of_the_layout(void **state) {
  (void)state;
  qn_tensor *x = noise(1, 4, (int64_t[]){1, 3, 4, 4}, QN_F32),
            *w = noise(2, 4, (int64_t[]){2, 3, 3, 3}, QN_F32),
            *flat = noise(1, 2, (int64_t[]){3, 4}, QN_F32), *y = NULL;
  qn_arg args[] = {gc_tensor(x), gc_tensor(w), gc_str("layout", "nhwc")};
  assert_fails(qni_call_named("conv2d", args, 3, &y, 1), QN_E_SHAPE, "4 channels");
  qn_arg pool[] = {gc_tensor(flat), gc_int("kernel", 2), gc_str("layout", "nhwc")};
  assert_fails(qni_call_named("max_pool", pool, 3, &y, 1), QN_E_SHAPE, "[N,H,W,C]");
  qn_tensor_free(x), qn_tensor_free(w), qn_tensor_free(flat);
}

static int start(void **state) {
  (void)state;
  return qn_start(NULL);
}

static int stop(void **state) {
  (void)state;
  qn_stop();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(convolutions_agree_in_both_layouts),
      cmocka_unit_test(series_and_transposes_agree_in_both_layouts),
      cmocka_unit_test(pooling_agrees_in_both_layouts),
      cmocka_unit_test(channels_last_differentiates_to_second_order),
      cmocka_unit_test(batch_norm_act_is_batch_norm_with_residual_and_relu),
      cmocka_unit_test(batch_norm_act_differentiates),
      cmocka_unit_test(bits_do_not_depend_on_the_workers),
      cmocka_unit_test(misfits_speak_of_the_layout),
  };
  return cmocka_run_group_tests(tests, start, stop);
}
