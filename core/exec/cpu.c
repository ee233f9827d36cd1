/*
** The CPU: features by cpuid, cache sizes, the kernel level, denormal control.
** On other architectures than x86 only the plain level exists.
** SPDX-License-Identifier: MIT
*/
#include "exec/cpu.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#if defined(__x86_64__) || defined(__i386__)
#define X86 1
#include <cpuid.h>
#include <xmmintrin.h>
#else
#define X86 0
#endif

static const char *const isa_names[] = {"plain", "avx2", "avx512"};
static enum qni_isa current_isa = QNI_ISA_PLAIN;
static char features[256], model[64];

/* ---- Features ---- */

#if X86
/* __builtin_cpu_supports takes a literal only; it also asks whether the system saves the registers. */
#define NOTE(name)                                                                                 \
  if (__builtin_cpu_supports(name)) note(name)

static void note(const char *name) {
  size_t used = strlen(features);
  snprintf(features + used, sizeof features - used, "%s%s", used ? " " : "", name);
}

static void find_features(void) {
  __builtin_cpu_init();
  NOTE("sse4.2");
  NOTE("popcnt");
  NOTE("avx");
  NOTE("avx2");
  NOTE("fma");
  NOTE("avx512f");
  NOTE("avx512bw");
  NOTE("avx512dq");
  NOTE("avx512vl");
  NOTE("avx512vnni");
  NOTE("avx512bf16");
}

static void find_model(void) {
  unsigned regs[12];
  for (unsigned i = 0; i < 3; i++)
    if (!__get_cpuid(0x80000002u + i, &regs[4 * i], &regs[4 * i + 1], &regs[4 * i + 2],
                     &regs[4 * i + 3])) {
      snprintf(model, sizeof model, "x86");
      return;
    }
  char text[sizeof regs + 1];
  memcpy(text, regs, sizeof regs);
  text[sizeof regs] = 0;
  const char *start = text + strspn(text, " ");
  snprintf(model, sizeof model, "%s", *start ? start : "x86");
  for (size_t end = strlen(model); end && model[end - 1] == ' ';) model[--end] = 0;
}
#else
static void find_features(void) { features[0] = 0; }

static void find_model(void) {
  struct utsname name;
  snprintf(model, sizeof model, "%s", uname(&name) ? "unknown" : name.machine);
}
#endif

bool qni_cpu_has(const char *feature) {
  size_t length = strlen(feature);
  if (!length) return false;
  if (!model[0]) find_features(), find_model();
  for (const char *at = features; (at = strstr(at, feature)); at += length)
    if ((at == features || at[-1] == ' ') && (at[length] == ' ' || !at[length])) return true;
  return false;
}

const char *qni_cpu_features(void) {
  if (!model[0]) find_features(), find_model();
  return features;
}

const char *qni_cpu_model(void) {
  if (!model[0]) find_features(), find_model();
  return model;
}

/* ---- Level ---- */

static bool built(enum qni_isa isa) {
  switch (isa) {
#ifdef QNI_BUILD_avx512
  case QNI_ISA_AVX512: return true;
#endif
#ifdef QNI_BUILD_avx2
  case QNI_ISA_AVX2: return true;
#endif
  default: return isa == QNI_ISA_PLAIN;
  }
}

static bool runs(enum qni_isa isa) {
  bool avx2 = qni_cpu_has("avx2") && qni_cpu_has("fma");
  bool avx512 = avx2 && qni_cpu_has("avx512f") && qni_cpu_has("avx512bw") &&
                qni_cpu_has("avx512dq") && qni_cpu_has("avx512vl");
  return isa == QNI_ISA_PLAIN || (isa == QNI_ISA_AVX2 && avx2) || (isa == QNI_ISA_AVX512 && avx512);
}

static qn_status choose(enum qni_isa isa) {
  if (built(isa) && runs(isa)) {
    current_isa = isa;
    return QN_OK;
  }
  qni_fail(QN_E_UNSUPPORTED, "instruction level \"%s\" cannot be used: %s", isa_names[isa],
           built(isa) ? "this CPU does not have it" : "this build does not have it");
  qni_error_detail("CPU: %s; features: %s", qni_cpu_model(), qni_cpu_features());
  qni_error_hint("leave QUERN_ISA unset to take the best level, or use \"plain\"");
  return QN_E_UNSUPPORTED;
}

qn_status qni_cpu_start(const char *isa) {
  if (isa && *isa) {
    for (int i = QNI_ISA_PLAIN; i <= QNI_ISA_AVX512; i++)
      if (!strcmp(isa, isa_names[i])) return choose((enum qni_isa)i);
    qni_fail(QN_E_ARG, "unknown instruction level \"%s\"", isa);
    qni_error_hint("the levels are \"avx512\", \"avx2\" and \"plain\"");
    return QN_E_ARG;
  }
  current_isa = QNI_ISA_PLAIN;
  if (built(QNI_ISA_AVX2) && runs(QNI_ISA_AVX2)) current_isa = QNI_ISA_AVX2;
  if (built(QNI_ISA_AVX512) && runs(QNI_ISA_AVX512)) current_isa = QNI_ISA_AVX512;
  return QN_OK;
}

enum qni_isa qni_cpu_isa(void) { return current_isa; }
const char *qni_cpu_isa_name(void) { return isa_names[current_isa]; }

/* ---- Cores and caches ---- */

int32_t qni_cpu_cores(void) {
  cpu_set_t set;
  if (!sched_getaffinity(0, sizeof set, &set)) {
    int count = CPU_COUNT(&set);
    if (count > 0) return count;
  }
  long count = sysconf(_SC_NPROCESSORS_ONLN);
  return count > 0 ? (int32_t)count : 1;
}

static bool read_word(int index, const char *name, char *word, size_t size) {
  char path[128];
  snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", index, name);
  FILE *f = fopen(path, "r");
  if (!f) return false;
  bool good = fgets(word, (int)size, f) != NULL;
  fclose(f);
  return good;
}

/* Size of the data cache of a level from /sys ("48K"); 0 if unknown. */
static int64_t cache_from_sys(int level) {
  char word[64];
  for (int i = 0; i < 8; i++) {
    if (!read_word(i, "level", word, sizeof word) || atoi(word) != level) continue;
    if (!read_word(i, "type", word, sizeof word) || word[0] == 'I') continue;
    if (!read_word(i, "size", word, sizeof word)) continue;
    char *unit;
    int64_t size = strtoll(word, &unit, 10);
    if (*unit == 'K') size *= 1024;
    if (*unit == 'M') size *= 1024 * 1024;
    if (size > 0) return size;
  }
  return 0;
}

static int64_t cache_size(int name, int level, int64_t guess) {
  long size = sysconf(name);
  if (size > 0) return size;
  int64_t found = cache_from_sys(level);
  return found ? found : guess;
}

int64_t qni_cpu_l1d(void) { return cache_size(_SC_LEVEL1_DCACHE_SIZE, 1, 32 * 1024); }
int64_t qni_cpu_l2(void) { return cache_size(_SC_LEVEL2_CACHE_SIZE, 2, 512 * 1024); }

/* ---- Denormals ---- */

#if X86
enum { FLUSH = 0x8040 }; /* MXCSR: flush to zero, denormals are zero */
uint32_t qni_cpu_fp_control(void) { return _mm_getcsr(); }
void qni_cpu_fp_restore(uint32_t control) { _mm_setcsr(control); }
#elif defined(__aarch64__)
enum { FLUSH = 1 << 24 }; /* FPCR.FZ */
uint32_t qni_cpu_fp_control(void) {
  uint64_t control;
  __asm__ volatile("mrs %0, fpcr" : "=r"(control));
  return (uint32_t)control;
}
void qni_cpu_fp_restore(uint32_t control) {
  __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)control));
}
#else
enum { FLUSH = 0 };
uint32_t qni_cpu_fp_control(void) { return 0; }
void qni_cpu_fp_restore(uint32_t control) { (void)control; }
#endif

uint32_t qni_cpu_flush_denormals(bool on) {
  uint32_t control = qni_cpu_fp_control();
  uint32_t wanted = on ? control | (uint32_t)FLUSH : control & ~(uint32_t)FLUSH;
  if (wanted != control) qni_cpu_fp_restore(wanted);
  return control;
}
