/*
** A descriptor read without running: addresses are looked up in the program headers, pointers
** in the relocations. Every number of the file is checked before it is believed.
** SPDX-License-Identifier: MIT
*/
#include "api/scan.h"

#include <elf.h>
#include <stddef.h>
#include <string.h>

#include "base/mem.h"

/* Relative and absolute relocations of x86-64 and aarch64. */
enum { RELATIVE_X86 = 8, ABSOLUTE_X86 = 1, RELATIVE_ARM = 1027, ABSOLUTE_ARM = 257 };

struct elf {
  const unsigned char *file;
  size_t bytes;
  const Elf64_Ehdr *head;
  const Elf64_Phdr *segment;
  const Elf64_Shdr *section;
  const Elf64_Sym *symbol;
  uint64_t n_symbols;
  const char *names;
  uint64_t names_bytes;
};

static bool inside(const struct elf *e, uint64_t offset, uint64_t bytes) {
  return offset <= e->bytes && bytes <= e->bytes - offset;
}

/* A table of n entries at offset, aligned for them; NULL if it is not within the file. */
static const void *table(const struct elf *e, uint64_t offset, uint64_t n, uint64_t size) {
  if (n > e->bytes / size || !inside(e, offset, n * size) || offset % 8) return NULL;
  return e->file + offset;
}

static qn_status unreadable(const char *file, const char *why) {
  qni_fail(QN_E_UNSUPPORTED, "%s cannot be read without running it: %s", file, why);
  return QN_E_UNSUPPORTED;
}

static qn_status malformed(const char *file, const char *what) {
  qni_fail(QN_E_PLUGIN, "%s is no plugin library", file);
  qni_error_detail("%s", what);
  qni_error_hint("build it with -shared from sources that define qn_plugin_entry");
  return QN_E_PLUGIN;
}

static qn_status open_elf(const char *file, const qni_file_map *map, struct elf *e) {
  *e = (struct elf){.file = map->data, .bytes = map->n_bytes, .head = map->data};
  if (e->bytes < sizeof *e->head || memcmp(e->head->e_ident, ELFMAG, SELFMAG))
    return malformed(file, "it does not begin as an ELF file does");
  const unsigned char *id = e->head->e_ident;
  if (id[EI_CLASS] != ELFCLASS64 || id[EI_DATA] != ELFDATA2LSB ||
      (e->head->e_machine != EM_X86_64 && e->head->e_machine != EM_AARCH64))
    return unreadable(file, "it is made for another machine");
  e->segment = table(e, e->head->e_phoff, e->head->e_phnum, sizeof(Elf64_Phdr));
  e->section = table(e, e->head->e_shoff, e->head->e_shnum, sizeof(Elf64_Shdr));
  if (!e->segment || !e->section) return malformed(file, "its tables lie outside the file");
  for (int i = 0; i < e->head->e_shnum; i++) {
    const Elf64_Shdr *s = &e->section[i];
    if (s->sh_type != SHT_DYNSYM || s->sh_link >= e->head->e_shnum) continue;
    const Elf64_Shdr *names = &e->section[s->sh_link];
    e->n_symbols = s->sh_size / sizeof(Elf64_Sym);
    e->symbol = table(e, s->sh_offset, e->n_symbols, sizeof(Elf64_Sym));
    if (!inside(e, names->sh_offset, names->sh_size) || !names->sh_size) break;
    e->names = (const char *)e->file + names->sh_offset;
    e->names_bytes = names->sh_size;
  }
  if (!e->symbol || !e->names || e->names[e->names_bytes - 1])
    return malformed(file, "it has no table of exported symbols");
  return QN_OK;
}

/* Where an address lies in the file, with `bytes` behind it; NULL if nowhere. */
static const void *at(const struct elf *e, uint64_t address, uint64_t bytes) {
  for (int i = 0; i < e->head->e_phnum; i++) {
    const Elf64_Phdr *p = &e->segment[i];
    if (p->p_type != PT_LOAD || address < p->p_vaddr || address - p->p_vaddr > p->p_filesz)
      continue;
    uint64_t offset = address - p->p_vaddr;
    if (bytes > p->p_filesz - offset || p->p_offset > e->bytes) return NULL;
    return inside(e, p->p_offset + offset, bytes) ? e->file + p->p_offset + offset : NULL;
  }
  return NULL;
}

/* The relocation of an address; 0: none, the file has the pointer itself. */
static bool relocated(const struct elf *e, uint64_t address, uint64_t *value) {
  for (int i = 0; i < e->head->e_shnum; i++) {
    const Elf64_Shdr *s = &e->section[i];
    if (s->sh_type != SHT_RELA) continue;
    uint64_t n = s->sh_size / sizeof(Elf64_Rela);
    const Elf64_Rela *r = table(e, s->sh_offset, n, sizeof *r);
    for (uint64_t k = 0; r && k < n; k++) {
      if (r[k].r_offset != address) continue;
      uint64_t type = ELF64_R_TYPE(r[k].r_info), symbol = ELF64_R_SYM(r[k].r_info);
      *value = (uint64_t)r[k].r_addend;
      if (type == RELATIVE_X86 || type == RELATIVE_ARM) return true;
      bool absolute = type == ABSOLUTE_X86 || type == ABSOLUTE_ARM;
      if (!absolute || symbol >= e->n_symbols || e->symbol[symbol].st_shndx == SHN_UNDEF)
        return *value = 0, true;
      *value += e->symbol[symbol].st_value;
      return true;
    }
  }
  return false;
}

/* The address that the pointer at `address` will hold; 0: NULL. */
static uint64_t pointer(const struct elf *e, uint64_t address) {
  uint64_t value = 0;
  if (relocated(e, address, &value)) return value;
  const void *in_place = at(e, address, sizeof value);
  if (in_place) memcpy(&value, in_place, sizeof value);
  return value;
}

/* The text that the pointer at `address` points at; NULL: none, or without an end. */
static const char *text(const struct elf *e, uint64_t address) {
  uint64_t to = pointer(e, address);
  const char *s = to ? at(e, to, 1) : NULL;
  if (!s) return NULL;
  size_t left = e->bytes - (size_t)((const unsigned char *)s - e->file);
  return memchr(s, 0, left) ? s : NULL;
}

static uint64_t entry_address(const struct elf *e) {
  for (uint64_t i = 1; i < e->n_symbols; i++) {
    const Elf64_Sym *s = &e->symbol[i];
    if (s->st_shndx != SHN_UNDEF && s->st_name < e->names_bytes &&
        !strcmp(e->names + s->st_name, "qn_plugin_entry"))
      return s->st_value;
  }
  return 0;
}

static void read_ops(const struct elf *e, uint64_t list, qni_scan *scan) {
  for (; list && scan->n_ops < QNI_SCAN_OPS; list += 8) {
    uint64_t op = pointer(e, list);
    if (!op) return;
    scan->op[scan->n_ops++] = (qni_scan_op){.schema = text(e, op + offsetof(qn_op, schema)),
                                            .summary = text(e, op + offsetof(qn_op, summary)),
                                            .doc = text(e, op + offsetof(qn_op, doc)),
                                            .cite = text(e, op + offsetof(qn_op, cite)),
                                            .example = text(e, op + offsetof(qn_op, example))};
  }
}

static void read_needs(const struct elf *e, uint64_t list, qni_scan *scan) {
  for (int32_t n = 0; list && n < QNI_SCAN_NEEDS; n++, list += 8)
    if (!(scan->needs[n] = text(e, list))) return;
}

static qn_status read_entry(const char *file, const struct elf *e, qni_scan *scan) {
  uint64_t address = entry_address(e);
  const void *found = address ? at(e, address, offsetof(qn_plugin, build)) : NULL;
  qn_plugin *p = &scan->head;
  if (!address) {
    qni_fail(QN_E_PLUGIN, "%s does not export qn_plugin_entry", file);
    qni_error_hint("mark it: QN_EXPORT const qn_plugin qn_plugin_entry = {...};");
    return QN_E_PLUGIN;
  }
  if (!found) return malformed(file, "qn_plugin_entry lies outside the file");
  memcpy(p, found, offsetof(qn_plugin, build)); /* magic, sizes, versions */
  if (memcmp(p->magic, "QUERNPL", sizeof p->magic) || p->struct_size < QN_SIZE_TO(qn_plugin, query))
    return QN_OK; /* for the loader to refuse, with what was found */
  p->build = text(e, address + offsetof(qn_plugin, build));
  p->id = text(e, address + offsetof(qn_plugin, id));
  p->name = text(e, address + offsetof(qn_plugin, name));
  p->version = text(e, address + offsetof(qn_plugin, version));
  p->requires_ids = scan->needs;
  read_needs(e, pointer(e, address + offsetof(qn_plugin, requires_ids)), scan);
  read_ops(e, pointer(e, address + offsetof(qn_plugin, ops)), scan);
  return QN_OK;
}

qn_status qni_scan_open(const char *file, qni_scan **out) {
  struct elf e;
  *out = NULL;
  qni_scan *scan = qni_mem_zalloc(1, sizeof *scan);
  if (!scan) return QN_E_NOMEM;
  qn_status st = qni_file_map_open(file, &scan->map);
  if (!st) st = open_elf(file, &scan->map, &e);
  if (!st) st = read_entry(file, &e, scan);
  if (st)
    qni_scan_close(scan);
  else
    *out = scan;
  return st;
}

void qni_scan_close(qni_scan *scan) {
  if (!scan) return;
  qni_file_map_close(&scan->map);
  qni_mem_free(scan);
}
