# Quern. `make demo` and `make test` do all set-up; see README.md.
CC      ?= gcc
BUILD   ?= build
PREFIX  ?= /usr/local
OPT     ?= -O3 -g
SAN     ?=
ISAS    ?= $(if $(filter x86_64%,$(shell $(CC) -dumpmachine)),plain avx2 avx512,plain)

WARN    := -std=c11 -Wall -Wextra -Wconversion -Wshadow -Wvla -Werror
DEFS    := -D_GNU_SOURCE $(foreach i,$(ISAS),-DQNI_BUILD_$(i))
BASE    := $(WARN) $(OPT) $(DEFS) -Icore/include -Icore -fPIC -fvisibility=hidden -fno-math-errno -ffp-contract=off \
           -pthread -MMD -MP $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all)
LUA_INC := $(shell pkg-config --cflags lua5.4 2>/dev/null)
LUA_LIB := $(shell pkg-config --libs lua5.4 2>/dev/null)
LIBS    := -ljansson -lsqlite3 -lcurl -lpng -ljpeg -lz -lm -ldl -pthread
LDSAN   := $(if $(SAN),-fsanitize=$(SAN))

ISA_plain  :=
ISA_avx2   := -mavx2 -mfma -ffp-contract=fast
ISA_avx512 := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mprefer-vector-width=512 -ffp-contract=fast

CORE_C   := $(filter-out core/kernels/% core/bind/%,$(wildcard core/*/*.c))
KERNEL_C := $(wildcard core/kernels/*.c)
BIND_C   := $(wildcard core/bind/*.c)
CORE_O   := $(CORE_C:%.c=$(BUILD)/%.o) $(foreach i,$(ISAS),$(KERNEL_C:core/kernels/%.c=$(BUILD)/core/kernels/$(i)/%.o))
BIND_O   := $(BIND_C:%.c=$(BUILD)/%.o)
PLUGINS  := $(notdir $(patsubst %/plugin.lua,%,$(wildcard plugins/*/plugin.lua)))
PLUGIN_F := $(foreach p,$(PLUGINS),$(patsubst plugins/%,$(BUILD)/plugins/%,$(wildcard plugins/$(p)/*.lua)) \
              $(if $(wildcard plugins/$(p)/$(p).c),$(foreach i,$(ISAS),$(BUILD)/plugins/$(p)/$(p).$(i).so)))
TESTS    := $(patsubst tests/c/%.c,$(BUILD)/tests/%,$(wildcard tests/c/test_*.c))

.PHONY: all lib plugins tests
all: $(BUILD)/quern $(BUILD)/libquern.so plugins
lib: $(BUILD)/libquern.so
plugins: $(PLUGIN_F)
tests: $(TESTS)

$(BUILD)/libcore.a: $(CORE_O)
	@rm -f $@; ar rcs $@ $^
$(BUILD)/libquern.so: $(CORE_O)
	$(CC) -shared -Wl,-soname,libquern.so.1 -o $@ $^ $(LDSAN) $(LIBS)
$(BUILD)/quern: $(BIND_O) $(BUILD)/libcore.a
	$(CC) -o $@ $(BIND_O) -Wl,--whole-archive $(BUILD)/libcore.a -Wl,--no-whole-archive $(LDSAN) $(LIBS) $(LUA_LIB)

$(BUILD)/core/bind/%.o: core/bind/%.c
	@mkdir -p $(@D)
	$(CC) $(BASE) $(LUA_INC) -c -o $@ $<
$(BUILD)/core/%.o: core/%.c
	@mkdir -p $(@D)
	$(CC) $(BASE) -c -o $@ $<
define kernel_rules
$$(BUILD)/core/kernels/$(1)/%.o: core/kernels/%.c
	@mkdir -p $$(@D)
	$$(CC) $$(BASE) $$(ISA_$(1)) -DQNI_ISA=$(1) -c -o $$@ $$<
$$(BUILD)/plugins/%.$(1).so: plugins/%.c
	@mkdir -p $$(@D)
	$$(CC) $$(BASE) $$(ISA_$(1)) -shared -o $$@ $$< -lm
endef
$(foreach i,$(ISAS),$(eval $(call kernel_rules,$(i))))
$(BUILD)/plugins/%.lua: plugins/%.lua
	@mkdir -p $(@D); cp $< $@
$(BUILD)/tests/%: tests/c/%.c $(BUILD)/libcore.a
	@mkdir -p $(@D)
	$(CC) $(BASE) -Itests/c -o $@ $< $(BUILD)/libcore.a $(LDSAN) $(LIBS) -lcmocka

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
