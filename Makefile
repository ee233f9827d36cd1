# Quern. `make demo` and `make test` do all set-up on a fresh Debian machine.
#
#   make            build/quern, libquern.so, plugins         make lint     format, layers, cppcheck, luacheck
#   make demo       train HSTU, prune it, make it sparse       make asan     C tests, address + undefined + leak
#   make test       build and run all tests                   make tsan     C tests under the thread sanitizer
#   make install    PREFIX=/usr/local, DESTDIR=               make cover    line coverage of core/ by the C tests
#   make bench      benchmarks; bench-NAME one of them        make fuzz     each fuzz target for FUZZ_SECONDS
#   make size       lines by folder, and against main         make crash    KILLS kills at random, resumed to equal bits
#   make clean                                            make kit      the whole conformance kit on core and plugins
#   make docs       docs/ops, lua/meta, tests/golden/help   make study    orders that papers report, trained anew
#
# CC=clang, BUILD=dir, OPT=-O0, SAN=address,undefined, ISAS=plain, J=jobs may be given.
ifeq ($(origin CC),default)
CC      := gcc
endif
BUILD   ?= build
PREFIX  ?= /usr/local
OPT     ?= -O3 -g
J       ?= $(shell nproc)
FUZZ_SECONDS ?= 30
KILLS   ?= 200
VERSION := $(shell sed -n 's/^.define VERSION "\(.*\)"/\1/p' core/api/quern.c)
# Real data for tests and the demo, where it is there.
export QUERN_DATA ?= $(abspath $(wildcard ../shared/data))

# ---- Flags ----
X86     := $(filter x86_64%,$(shell $(CC) -dumpmachine))
CLANG   := $(findstring clang,$(shell $(CC) --version))
ISAS    ?= plain $(if $(X86),avx2 avx512)
# snprintf may cut a text on purpose; under sanitizers GCC guesses wrongly about what is set, and
# Clang does not vectorize.
WARN    := -std=c11 -Wall -Wextra -Wconversion -Wshadow -Wvla -Werror \
           $(if $(CLANG),$(if $(SAN),-Wno-pass-failed),-Wno-format-truncation $(if $(SAN)$(filter -O0 -O1,$(OPT)),-Wno-maybe-uninitialized -Wno-stringop-overflow))
DEFS    := -D_GNU_SOURCE $(foreach i,$(ISAS),-DQNI_BUILD_$(i)) $(EXTRA)
BASE    := $(WARN) $(OPT) $(DEFS) -Icore/include -Icore -fPIC -fvisibility=hidden -fno-math-errno \
           -ffp-contract=off -pthread -MMD -MP $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all)
LUA_INC  = $(shell pkg-config --cflags lua5.4)
LUA_LIB  = $(shell pkg-config --libs lua5.4) -lsqlite3 -ledit
LIBS    := -ljansson -lcurl -lturbojpeg -lpng -lz -lm -ldl -pthread
LIBS_perflaw := -lcminpack -lz
LINK    := $(if $(SAN),-fsanitize=$(SAN)) $(LINK_EXTRA)
ISA_plain  :=
ISA_avx2   := -mavx2 -mfma -mf16c -ffp-contract=fast
ISA_avx512 := $(ISA_avx2) -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512

# ---- What there is ----
CORE_C   := $(filter-out core/kernels/% core/bind/%,$(wildcard core/*/*.c))
KERNEL_C := $(wildcard core/kernels/*.c)
BIND_O   := $(patsubst %.c,$(BUILD)/%.o,$(wildcard core/bind/*.c))
CORE_O   := $(CORE_C:%.c=$(BUILD)/%.o) $(foreach i,$(ISAS),$(KERNEL_C:core/kernels/%.c=$(BUILD)/core/kernels/$(i)/%.o))
PLUGINS  := $(patsubst plugins/%/plugin.lua,%,$(wildcard plugins/*/plugin.lua))
PLUGIN_F := $(patsubst %,$(BUILD)/%,$(filter-out %.c %.h,$(wildcard plugins/*/*.*))) \
            $(foreach p,$(PLUGINS),$(if $(wildcard plugins/$(p)/*.c),$(ISAS:%=$(BUILD)/plugins/$(p)/$(p).%.so)))
TESTS    := $(patsubst tests/c/%.c,$(BUILD)/tests/%,$(wildcard tests/c/test_*.c))
BENCHES  := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(wildcard tests/bench/*.c))
BAD      := $(patsubst tests/bad_plugins/%.c,$(BUILD)/bad_plugins/%.so,$(wildcard tests/bad_plugins/*.c))
FUZZERS  := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c))

.PHONY: all tests benches demo test ctest luatest kit docs crash study install lint asan tsan aarch64 cover fuzz bench bench-table bench-gate size clean setup-%
all: $(BUILD)/quern $(BUILD)/libquern.so $(PLUGIN_F)
tests: $(TESTS)
benches: $(BENCHES)

# ---- Building ----
$(BUILD)/libcore.a: $(CORE_O)
	@rm -f $@; ar rcs $@ $^
$(BUILD)/libquern.so: $(CORE_O)
	@echo '  LD $@'; $(CC) -shared -Wl,-soname,libquern.so.0 -Wl,-z,nodelete -o $@ $^ $(LINK) $(LIBS)
$(BUILD)/quern: $(BIND_O) $(BUILD)/libcore.a
	@echo '  LD $@'; $(CC) -o $@ $(BIND_O) -Wl,--whole-archive $(BUILD)/libcore.a -Wl,--no-whole-archive $(LINK) $(LIBS) $(LUA_LIB)
$(BUILD)/core/bind/%.o: core/bind/%.c
	@mkdir -p $(@D)
	@echo '  CC $<'; $(CC) $(BASE) $(LUA_INC) -c -o $@ $<
$(BUILD)/core/%.o: core/%.c
	@mkdir -p $(@D)
	@echo '  CC $<'; $(CC) $(BASE) -c -o $@ $<
define isa_rules
$$(BUILD)/core/kernels/$(1)/%.o: core/kernels/%.c
	@mkdir -p $$(@D)
	@echo '  CC $$< ($(1))'; $$(CC) $$(BASE) $$(ISA_$(1)) -DQNI_ISA=$(1) -c -o $$@ $$<
endef
define plugin_rules
$$(BUILD)/plugins/$(1)/$(1).$(2).so: $$(wildcard plugins/$(1)/*.c plugins/$(1)/*.h) core/include/quern/abi.h core/include/quern/abi_decls.h
	@mkdir -p $$(@D)
	@echo '  LD $$@'; $$(CC) $$(filter-out -MMD -MP -Icore,$$(BASE)) $$(ISA_$(2)) -shared -o $$@ $$(wildcard plugins/$(1)/*.c) $$(LINK) $$(LIBS_$(1)) -lm
endef
$(foreach i,$(ISAS),$(eval $(call isa_rules,$(i))))
$(foreach p,$(PLUGINS),$(foreach i,$(ISAS),$(eval $(call plugin_rules,$(p),$(i)))))
$(BUILD)/plugins/%: plugins/%
	@mkdir -p $(@D); cp $< $@
$(BUILD)/tests/%: tests/c/%.c $(BUILD)/libcore.a
	@mkdir -p $(@D)
	@echo '  LD $@'; $(CC) $(BASE) -Itests/c -o $@ $< $(BUILD)/libcore.a $(LINK) $(LIBS) -lcmocka
$(BUILD)/bad_plugins/%.so: tests/bad_plugins/%.c tests/bad_plugins/bad.h core/include/quern/abi.h core/include/quern/abi_decls.h
	@mkdir -p $(@D)
	@echo '  LD $@'; $(CC) $(filter-out -MMD -MP -Icore,$(BASE)) -shared -o $@ $< $(LINK) -lm
$(BUILD)/bench/%: tests/bench/%.c $(wildcard tests/bench/lib/*.c tests/bench/lib/*.h) $(BUILD)/libcore.a
	@mkdir -p $(@D)
	@echo '  LD $@'; $(CC) $(BASE) -Itests/bench/lib -o $@ $(filter %.c,$^) $(BUILD)/libcore.a $(LINK) $(LIBS)

# ---- Using ----
setup-%:
	@.ci/setup $*
demo: setup-build
	@$(MAKE) --no-print-directory -j$(J) all
	@.ci/demo $(BUILD)/quern
test: setup-test
	@$(MAKE) --no-print-directory -j$(J) all tests $(BAD)
	@tests/run.sh $(BUILD)
ctest: tests $(PLUGIN_F)
	@tests/run.sh $(BUILD) c
luatest: all $(BAD)
	@tests/run.sh $(BUILD) lua
kit: all $(BAD)
	@for p in core $(patsubst %,$(BUILD)/plugins/%,$(filter $(notdir $(patsubst %/,%,$(dir $(wildcard plugins/*/*.c)))),$(PLUGINS))); do $(BUILD)/quern plugin check $$p --fuzz 10 || exit 1; done
docs: all
	@QUERN_PLUGIN_PATH= $(BUILD)/quern api --plugins $(BUILD)/plugins --write .
crash: all
	@QUERN_KILLS=$(KILLS) QUERN_TEARS=5000 QUERN_FAULTS=500 $(BUILD)/quern lua tests/lua/run.lua test_crash test_disk
study: all
	@QUERN_STUDIES=1 $(BUILD)/quern lua tests/lua/run.lua test_lrm_recipes
install: all
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin lib/pkgconfig lib/quern include/quern share/quern share/doc/quern \
	  share/man/man1 share/bash-completion/completions share/zsh/site-functions)
	install -m 755 $(BUILD)/quern $(DESTDIR)$(PREFIX)/bin/quern
	install -m 755 $(BUILD)/libquern.so $(DESTDIR)$(PREFIX)/lib/libquern.so.$(VERSION)
	ln -sf libquern.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/libquern.so.0
	ln -sf libquern.so.0 $(DESTDIR)$(PREFIX)/lib/libquern.so
	install -m 644 core/include/quern/*.h $(DESTDIR)$(PREFIX)/include/quern
	cp -r lua recipes $(DESTDIR)$(PREFIX)/share/quern
	cp -r $(BUILD)/plugins $(DESTDIR)$(PREFIX)/lib/quern
	cp -r README.md docs $(DESTDIR)$(PREFIX)/share/doc/quern
	QUERN_LUA=lua $(BUILD)/quern help --man > $(DESTDIR)$(PREFIX)/share/man/man1/quern.1
	QUERN_LUA=lua $(BUILD)/quern help --completion bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/quern
	QUERN_LUA=lua $(BUILD)/quern help --completion zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_quern
	printf 'prefix=$(PREFIX)\nName: quern\nDescription: plugin-based tensor and autograd runtime\nVersion: $(VERSION)\nCflags: -I$${prefix}/include\nLibs: -L$${prefix}/lib -lquern\nplugindir=$${prefix}/lib/quern/plugins\n' \
	  > $(DESTDIR)$(PREFIX)/lib/pkgconfig/quern.pc

# ---- Checking ----
lint: setup-lint
	@.ci/lint $(CC)
asan tsan: setup-test
	@$(MAKE) --no-print-directory -j$(J) BUILD=$(BUILD)/$@ OPT='-O1 -g' SAN=$(if $(filter asan,$@),address$(,)undefined,thread) ctest
aarch64:
	@.ci/aarch64 $(BUILD)/aarch64
cover: setup-test
	@$(MAKE) --no-print-directory -j$(J) BUILD=$(BUILD)/cover OPT='-O0 -g --coverage' LINK_EXTRA=--coverage ctest
	@cd $(BUILD)/cover && find core -name '*.gcda' | xargs gcov -n 2>/dev/null | $(CURDIR)/tests/cover.awk
fuzz: setup-lint
	@$(MAKE) --no-print-directory -j$(J) CC=clang BUILD=$(BUILD)/fuzz OPT='-O1 -g' SAN=address,undefined EXTRA=-fsanitize=fuzzer-no-link $(BUILD)/fuzz/libcore.a
	@for f in $(FUZZERS); do echo "fuzz $$f"; mkdir -p $(BUILD)/fuzz/$$f.corpus; \
	  clang $(filter-out -MMD -MP -Werror,$(BASE)) -O1 -fsanitize=fuzzer,address,undefined -o $(BUILD)/fuzz/$$f tests/fuzz/$$f.c $(BUILD)/fuzz/libcore.a $(LIBS) && \
	  $(BUILD)/fuzz/$$f -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 $(BUILD)/fuzz/$$f.corpus tests/fuzz/corpus/$${f#fuzz_} 2>&1 | tail -8 || exit 1; done
bench: all benches
	@tests/bench/run.sh $(BUILD)
bench-table bench-gate: all benches
	@$(BUILD)/quern lua tests/bench/$(@:bench-%=%).lua $(BUILD)/bench $(if $(RECORD),--record)
bench-%: all benches
	@tests/bench/run.sh $(BUILD) $*
size:
	@for d in core/* plugins/* lua recipes tests docs; do printf '%7d %s\n' "$$(git ls-files -- $$d | xargs cat 2>/dev/null | wc -l)" $$d; done
	@git diff --shortstat main -- 2>/dev/null || true
clean:
	rm -rf $(BUILD)

, := ,
-include $(shell find $(BUILD) -type f -name '*.d' 2>/dev/null)
