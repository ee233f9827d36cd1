/*
** Image files and batches: what is read is what was written, damage is named, and a batch
** depends on nothing but (seed, epoch, row).
** SPDX-License-Identifier: MIT
*/
#include "io_help.h"

#include <png.h>
#include <turbojpeg.h>
#include <zlib.h>

#include "io/gzip.h"
#include "io/idx.h"
#include "io/images.h"
#include "io/picture.h"
#include "io/tar.h"

/* ---- Helpers ---- */

static size_t pack(const void *data, size_t n, uint8_t *out, size_t room) {
  z_stream z = {
      .next_in = (Bytef *)data, .avail_in = (uInt)n, .next_out = out, .avail_out = (uInt)room};
  assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
  assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
  deflateEnd(&z);
  return room - z.avail_out;
}

static void tar_header(char *block, const char *name, size_t n, char type) {
  memset(block, 0, 512);
  snprintf(block, 100, "%s", name);
  snprintf(block + 124, 12, "%011o", (unsigned)n);
  block[156] = type;
  memcpy(block + 257, "ustar\0", 6);
  memset(block + 148, ' ', 8);
  unsigned sum = 0;
  for (int i = 0; i < 512; i++) sum += (uint8_t)block[i];
  snprintf(block + 148, 8, "%06o", sum);
}

/* ---- Gzip ---- */

static void gzip_gives_back_all_members_and_refuses_what_is_cut(void **state) {
  (void)state;
  static char text[300000];
  static uint8_t packed[400000];
  for (size_t i = 0; i < sizeof text; i++) text[i] = (char)(i * i >> 3);
  size_t n = pack(text, sizeof text, packed, sizeof packed), n_out;
  n += pack("tail", 4, packed + n, sizeof packed - n);
  char *out;
  assert_int_equal(qni_gzip_unpack(packed, n, "g", 1 << 20, &out, &n_out), QN_OK);
  assert_int_equal(n_out, sizeof text + 4);
  assert_memory_equal(out, text, sizeof text);
  assert_memory_equal(out + sizeof text, "tail", 4);
  qni_mem_free(out);
  help_expect(qni_gzip_unpack(packed, n - 20, "g", 1 << 20, &out, &n_out), QN_E_FORMAT,
              "unexpected end of gzip data");
  help_expect(qni_gzip_unpack(packed, n, "g", 1000, &out, &n_out), QN_E_FORMAT, "more than 1000");
  packed[n / 2] ^= 0x55;
  help_expect(qni_gzip_unpack(packed, n, "g", 1 << 20, &out, &n_out), QN_E_FORMAT, "damaged gzip");
}

/* ---- Tar ---- */

static void tar_walks_files_and_takes_long_names(void **state) {
  (void)state;
  static char archive[512 * 12];
  char *at = archive;
  tar_header(at, "pax_global_header", 52, 'g'), at += 1024;
  tar_header(at, "folder/", 0, '5'), at += 512;
  tar_header(at, "PaxHeaders/x", 29, 'x');
  memcpy(at + 512, "29 path=a/very/long/name.jpg\n", 29), at += 1024;
  tar_header(at, "short", 3, '0'), memcpy(at + 512, "abc", 3), at += 1024;
  tar_header(at, "b.png", 600, 0), at += 512 + 1024;
  qni_tar tar = {.data = archive, .origin = "t", .n_bytes = sizeof archive};
  qni_tar_file file;
  bool found;
  assert_true(qni_tar_is(archive, sizeof archive));
  assert_int_equal(qni_tar_next(&tar, &file, &found), QN_OK);
  assert_true(found);
  assert_string_equal(file.name, "a/very/long/name.jpg");
  assert_int_equal(file.n_bytes, 3);
  assert_memory_equal(file.data, "abc", 3);
  assert_int_equal(qni_tar_next(&tar, &file, &found), QN_OK);
  assert_string_equal(file.name, "b.png");
  assert_int_equal(qni_tar_next(&tar, &file, &found), QN_OK);
  assert_false(found);
  tar = (qni_tar){.data = archive, .origin = "t", .n_bytes = 512 * 8 + 100};
  assert_int_equal(qni_tar_next(&tar, &file, &found), QN_OK);
  help_expect(qni_tar_next(&tar, &file, &found), QN_E_FORMAT,
              "unexpected end of archive at byte 4196");
  archive[3] ^= 1;
  tar.at = 0;
  help_expect(qni_tar_next(&tar, &file, &found), QN_E_FORMAT, "a damaged tar header at byte 0");
}

/* ---- idx and CIFAR ---- */

static void idx_gives_the_bytes_in_the_files_shape(void **state) {
  (void)state;
  uint8_t file[16 + 12] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 2};
  for (int i = 0; i < 12; i++) file[16 + i] = (uint8_t)(7 * i);
  qn_tensor *t;
  assert_int_equal(qni_idx_parse(file, sizeof file, "i", &t), QN_OK);
  assert_int_equal(t->view.shape[1], 3);
  assert_memory_equal(t->view.data, file + 16, 12);
  const char *path = help_path("i.idx");
  char *back;
  size_t n;
  assert_int_equal(qni_idx_write(path, t), QN_OK);
  qn_tensor_free(t);
  assert_int_equal(qni_gzip_read(path, 1000, &back, &n), QN_OK);
  assert_int_equal(n, sizeof file);
  assert_memory_equal(back, file, n);
  qni_mem_free(back);
  help_expect(qni_idx_parse(file, sizeof file - 1, "i", &t), QN_E_FORMAT, "11 bytes follow");
  file[2] = 0x0d;
  help_expect(qni_idx_parse(file, sizeof file, "i", &t), QN_E_FORMAT, "is no idx file of bytes");
  uint8_t huge[20] = {0, 0, 8, 4};
  memset(huge + 4, 0xff, 16);
  help_expect(qni_idx_parse(huge, sizeof huge, "i", &t), QN_E_FORMAT, "sizes are too large");
  help_expect(qni_idx_parse("version https://git-lfs.github.com", 30, "i", &t), QN_E_FORMAT,
              "is a Git LFS pointer");
}

static void cifar_records_survive_writing_and_bad_labels_are_named(void **state) {
  (void)state;
  enum { RECORD = 2 + QNI_CIFAR_PIXELS };
  static uint8_t file[3 * RECORD];
  int32_t classes[2] = {20, 100}, ten[1] = {10};
  for (int i = 0; i < 3 * RECORD; i++) file[i] = (uint8_t)(i % 251);
  for (int i = 0; i < 3; i++)
    file[i * RECORD] = (uint8_t)i, file[i * RECORD + 1] = (uint8_t)(90 + i);
  qn_tensor *images, *labels[2];
  assert_int_equal(qni_cifar_parse(file, sizeof file, "c", 2, classes, &images, labels), QN_OK);
  assert_int_equal(((int64_t *)labels[1]->view.data)[2], 92);
  assert_memory_equal(images->view.data, file + 2, QNI_CIFAR_PIXELS);
  const char *path = help_path("c.bin");
  char *back;
  size_t n;
  assert_int_equal(qni_cifar_write(path, images, 2, labels), QN_OK);
  assert_int_equal(qni_file_read(path, 1 << 20, &back, &n), QN_OK);
  assert_int_equal(n, sizeof file);
  assert_memory_equal(back, file, n);
  qni_mem_free(back);
  qn_tensor_free(images);
  qn_tensor_free(labels[0]);
  qn_tensor_free(labels[1]);
  help_expect(qni_cifar_parse(file, sizeof file, "c", 1, ten, &images, labels), QN_E_FORMAT,
              "no multiple of the record's 3073");
  file[RECORD] = 20;
  help_expect(qni_cifar_parse(file, sizeof file, "c", 2, classes, &images, labels), QN_E_FORMAT,
              "record 2 has label 20");
}

/* ---- Pictures ---- */

enum { SIDE = 24, ROOM = 20000 };

/* A smooth colour picture, interleaved. */
static void paint(uint8_t *pixels) {
  for (int y = 0; y < SIDE; y++)
    for (int x = 0; x < SIDE; x++) {
      uint8_t *p = pixels + 3 * (y * SIDE + x);
      p[0] = (uint8_t)(10 * x), p[1] = (uint8_t)(10 * y), p[2] = (uint8_t)(5 * (x + y));
    }
}

static size_t write_png(const uint8_t *pixels, uint8_t *file) {
  png_image image = {
      .version = PNG_IMAGE_VERSION, .width = SIDE, .height = SIDE, .format = PNG_FORMAT_RGB};
  png_alloc_size_t n = ROOM;
  assert_true(png_image_write_to_memory(&image, file, &n, 0, pixels, 0, NULL));
  return n;
}

static size_t write_jpeg(const uint8_t *pixels, uint8_t *file) {
  tjhandle jpeg = tjInitCompress();
  unsigned long n = ROOM;
  assert_int_equal(tjCompress2(jpeg, pixels, SIDE, 0, SIDE, TJPF_RGB, &file, &n, TJSAMP_444, 98,
                               TJFLAG_NOREALLOC | TJFLAG_ACCURATEDCT),
                   0);
  tjDestroy(jpeg);
  return n;
}

/* Largest difference between planes and the interleaved picture. */
static int furthest(const qn_tensor *t, const uint8_t *pixels) {
  int most = 0;
  for (int c = 0; c < 3; c++)
    for (int i = 0; i < SIDE * SIDE; i++) {
      int d = abs(((const uint8_t *)t->view.data)[c * SIDE * SIDE + i] - pixels[3 * i + c]);
      if (d > most) most = d;
    }
  return most;
}

static void pictures_come_back_png_exactly_jpeg_nearly(void **state) {
  (void)state;
  static uint8_t pixels[3 * SIDE * SIDE], file[ROOM];
  qn_tensor *t;
  paint(pixels);
  assert_int_equal(qni_picture_parse(file, write_png(pixels, file), "p", 0, &t), QN_OK);
  assert_int_equal(t->view.shape[0], 3);
  assert_int_equal(furthest(t, pixels), 0);
  qn_tensor_free(t);
  size_t n = write_jpeg(pixels, file);
  assert_int_equal(qni_picture_parse(file, n, "p", 3, &t), QN_OK);
  assert_true(furthest(t, pixels) <= 4);
  qn_tensor_free(t);
  assert_int_equal(qni_picture_parse(file, n, "p", 1, &t), QN_OK);
  assert_int_equal(t->view.shape[0], 1);
  qn_tensor_free(t);
}

static void pictures_that_are_cut_or_of_no_kind_are_refused(void **state) {
  (void)state;
  static uint8_t pixels[3 * SIDE * SIDE], file[ROOM];
  qn_tensor *t;
  paint(pixels);
  size_t n = write_png(pixels, file);
  help_expect(qni_picture_parse("GIF89a", 6, "p", 0, &t), QN_E_FORMAT, "neither PNG nor JPEG");
  help_expect(qni_picture_parse(file, n, "p", 2, &t), QN_E_ARG, "1 or 3 channels");
  help_expect(qni_picture_parse(file, n - 30, "p", 0, &t), QN_E_FORMAT, "cannot decode it as PNG");
  file[16] = file[20] = 0x7f; /* a width and height of two thousand million */
  help_expect(qni_picture_parse(file, n, "p", 0, &t), QN_E_FORMAT, "p");
  n = write_jpeg(pixels, file);
  help_expect(qni_picture_parse(file, n - 40, "p", 0, &t), QN_E_FORMAT, "cannot decode it as JPEG");
}

/* ---- Batches ---- */

static void make_set(int64_t n, qn_tensor **images, qn_tensor **labels) {
  int64_t shape[4] = {n, 2, 5, 4};
  assert_int_equal(qni_tensor_empty(QN_U8, 4, shape, images), QN_OK);
  assert_int_equal(qni_tensor_empty(QN_I64, 1, &n, labels), QN_OK);
  for (int64_t i = 0; i < n * 40; i++)
    ((uint8_t *)(*images)->view.data)[i] = (uint8_t)(i * 37 + i / 40);
  for (int64_t i = 0; i < n; i++) ((int64_t *)(*labels)->view.data)[i] = i % 3;
}

static const qni_images_options PLAIN = {
    .batch = 7, .layout = QNI_LAYOUT_NHWC, .mean = {0.5, 0.25}, .std = {0.5, 2}};

static void plain_batches_are_the_normalised_images_in_order(void **state) {
  (void)state;
  qn_tensor *images, *labels;
  qni_images *l;
  qni_image_batch *b;
  make_set(10, &images, &labels);
  assert_int_equal(qni_images_new(images, labels, NULL, &PLAIN, &l), QN_OK);
  assert_int_equal(qni_ahead_batches(qni_images_ahead(l)), 2);
  assert_int_equal(qni_images_next(l, &b), QN_OK);
  assert_int_equal(b->n, 7);
  const uint8_t *from = images->view.data;
  const float *x = b->x->view.data;
  for (int64_t i = 0; i < 7; i++)
    for (int64_t p = 0; p < 20; p++) {
      assert_true(x[(i * 20 + p) * 2] == (float)((from[i * 40 + p] / 255.0 - 0.5) / 0.5));
      assert_true(x[(i * 20 + p) * 2 + 1] == (float)((from[i * 40 + 20 + p] / 255.0 - 0.25) / 2));
    }
  qni_image_batch_free(b);
  assert_int_equal(qni_images_next(l, &b), QN_OK);
  assert_int_equal(b->n, 3);
  assert_int_equal(((int64_t *)b->rows->view.data)[2], 9);
  assert_int_equal(((int64_t *)b->y->view.data)[2], 0);
  qni_image_batch_free(b);
  assert_int_equal(qni_images_next(l, &b), QN_OK);
  assert_null(b);
  qni_images_free(l);
  qn_tensor_free(images);
  qn_tensor_free(labels);
}

/* The sum over rows of a hash of what an image looks like in an epoch, however it is batched. */
static uint64_t looks(qni_images *l, uint64_t *order) {
  uint64_t sum = 0;
  qni_image_batch *b;
  *order = 0;
  while (!qni_images_next(l, &b) && b) {
    for (int64_t i = 0; i < b->n; i++) {
      uint64_t h = (uint64_t)((int64_t *)b->rows->view.data)[i] + 1;
      *order = *order * 31 + h;
      const uint32_t *x = (const uint32_t *)b->x->view.data + i * 40;
      for (int k = 0; k < 40; k++) h = (h ^ x[k]) * 0x9e3779b97f4a7c15u;
      sum += h;
    }
    qni_image_batch_free(b);
  }
  return sum;
}

static void augmentation_depends_on_seed_epoch_and_row_alone(void **state) {
  (void)state;
  qn_tensor *images, *labels;
  uint64_t first[3], order[3], got;
  make_set(50, &images, &labels);
  qni_images_options o = PLAIN;
  o.shuffle = true, o.pad = 2, o.flip = true, o.seed = 9;
  int64_t batch[3] = {7, 50, 16};
  for (int k = 0; k < 3; k++) {
    qni_images *l;
    o.batch = batch[k], o.prefetch = k;
    assert_int_equal(qni_images_new(images, labels, NULL, &o, &l), QN_OK);
    for (int epoch = 0; epoch < 3; epoch++) {
      uint64_t sum = looks(l, &got);
      if (k == 0) first[epoch] = sum, order[epoch] = got;
      assert_true(sum == first[epoch] && got == order[epoch]);
    }
    assert_true(first[0] != first[1] && order[0] != order[1]);
    qni_images_free(l);
  }
  qni_images *l;
  o.seed = 10;
  assert_int_equal(qni_images_new(images, labels, NULL, &o, &l), QN_OK);
  assert_true(looks(l, &got) != first[0] && got != order[0]);
  qni_images_free(l);
  qn_tensor_free(images);
  qn_tensor_free(labels);
}

static void a_sought_position_gives_the_batches_of_an_unbroken_loader(void **state) {
  (void)state;
  qn_tensor *images, *labels;
  qni_images *a, *b;
  make_set(40, &images, &labels);
  qni_images_options o = PLAIN;
  o.shuffle = true, o.pad = 1, o.prefetch = 2, o.seed = 3;
  assert_int_equal(qni_images_new(images, labels, NULL, &o, &a), QN_OK);
  assert_int_equal(qni_images_new(images, labels, NULL, &o, &b), QN_OK);
  for (int i = 0; i < 9; i++) { /* into the second epoch */
    qni_image_batch *x;
    assert_int_equal(qni_images_next(a, &x), QN_OK);
    qni_image_batch_free(x);
  }
  const qni_position at = qni_ahead_tell(qni_images_ahead(a));
  assert_int_equal(at.epoch, 1);
  assert_int_equal(qni_ahead_seek(qni_images_ahead(b), &at), QN_OK);
  for (int i = 0; i < 6; i++) {
    qni_image_batch *x, *y;
    assert_int_equal(qni_images_next(a, &x), QN_OK);
    assert_int_equal(qni_images_next(b, &y), QN_OK);
    assert_int_equal(!x, !y);
    if (x)
      assert_memory_equal(x->x->view.data, y->x->view.data,
                          (size_t)qni_tensor_count(x->x) * sizeof(float));
    qni_image_batch_free(x);
    qni_image_batch_free(y);
  }
  help_expect(qni_ahead_seek(qni_images_ahead(b), &(qni_position){.index = 99}), QN_E_ARG,
              "no batch 100");
  qni_images_free(a);
  qni_images_free(b);
  qn_tensor_free(images);
  qn_tensor_free(labels);
}

static void loaders_refuse_what_does_not_fit(void **state) {
  (void)state;
  qn_tensor *images, *labels, *rows;
  qni_images *l;
  int64_t one = 1;
  make_set(4, &images, &labels);
  assert_int_equal(qni_tensor_empty(QN_I64, 1, &one, &rows), QN_OK);
  *(int64_t *)rows->view.data = 4;
  help_expect(qni_images_new(images, labels, rows, &PLAIN, &l), QN_E_ARG, "row 4 of the set");
  help_expect(qni_images_new(images, rows, NULL, &PLAIN, &l), QN_E_SHAPE, "one for each image");
  help_expect(qni_images_new(labels, labels, NULL, &PLAIN, &l), QN_E_SHAPE, "u8[N,C,H,W]");
  qni_images_options o = PLAIN;
  o.pad = 6;
  help_expect(qni_images_new(images, labels, NULL, &o, &l), QN_E_ARG, "crop is 6");
  o.pad = 0, o.std[1] = 0;
  help_expect(qni_images_new(images, labels, NULL, &o, &l), QN_E_ARG, "std of channel 2");
  o = PLAIN, o.batch = 0;
  help_expect(qni_images_new(images, labels, NULL, &o, &l), QN_E_ARG, "batch of 0");
  qn_tensor_free(images);
  qn_tensor_free(labels);
  qn_tensor_free(rows);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gzip_gives_back_all_members_and_refuses_what_is_cut),
      cmocka_unit_test(tar_walks_files_and_takes_long_names),
      FOLDER_TEST(idx_gives_the_bytes_in_the_files_shape),
      FOLDER_TEST(cifar_records_survive_writing_and_bad_labels_are_named),
      cmocka_unit_test(pictures_come_back_png_exactly_jpeg_nearly),
      cmocka_unit_test(pictures_that_are_cut_or_of_no_kind_are_refused),
      cmocka_unit_test(plain_batches_are_the_normalised_images_in_order),
      cmocka_unit_test(augmentation_depends_on_seed_epoch_and_row_alone),
      cmocka_unit_test(a_sought_position_gives_the_batches_of_an_unbroken_loader),
      cmocka_unit_test(loaders_refuse_what_does_not_fit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
