# `make demo` and `make test` on a fresh clone do all their set-up themselves, in .venv.
#
#   PYTHON   interpreter that .venv is made with
#   TORCH    what to install where .venv has no torch yet. On Linux the default package index serves the large CUDA
#            build; for the small CPU build, set PIP_EXTRA_INDEX_URL to PyTorch's own CPU index.
#   DATA     folder with train/ and valid/, pictures for `make train`
#   RUNS     the runs that `make train` and `make train-stop` are for, of those in training/configs; all if empty
#   START    RUN=FOLDER ..: other weights than the released ones for a run that is new

PYTHON ?= $(shell python3.11 -c '' 2>/dev/null && echo python3.11 || echo python3)
TORCH ?= torch==2.13.0
VENV ?= .venv
DATA ?= data
RUNS ?=
START ?=
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed-stamp
FUZZING := $(VENV)/.fuzzing-stamp
WITH_RAY := $(VENV)/.ray-stamp
SOURCES := $(sort $(wildcard csrc/*.c))
HEADERS := $(wildcard csrc/*.h)
WARNINGS := -std=c99 -Wall -Wextra -Werror
WASM ?= web/dist/cwic.wasm
WASM_CC ?= clang-14
WASM_FLAGS := --target=wasm32 -msimd128 -mbulk-memory -mnontrapping-fptoint -O3 -fno-math-errno -fvisibility=hidden \
  $(WARNINGS) -nostdlib -isystem web/libc -Icsrc -Wl,--no-entry -Wl,--gc-sections -Wl,--strip-all \
  -Wl,--stack-first -Wl,-z,stack-size=262144 -Wl,--export=calloc -Wl,--export=free
WEB_SOURCES := web/decoder.c web/libc/memory.c $(addprefix csrc/,affine.c affine8.c affine_neon.c affine8_neon.c \
  affine_wasm.c affine8_wasm.c affine_x86.c affine8_x86.c affine8_avx2.c affine8_amx.c context.c decisions.c mixing.c \
  ends.c pass.c pixels.c postfilter.c range_coder.c rows.c tables.c tile.c transform.c)

.PHONY: demo test test-ray lint selftest selftests fuzz reliability check-long benchmarks train train-stop web wheel sdist clean

demo: $(INSTALLED)
	$(PY) -m benchmarks.demo

test: $(INSTALLED) selftest lint
	$(PY) -m pytest -q -m 'not long'

# Ray Data takes half a gigabyte, so that `make test` leaves it out, and skips its tests where it is not installed.
test-ray: $(WITH_RAY)
	$(PY) -m pytest -q tests/test_ray.py

lint: $(INSTALLED)
	$(PY) -m ruff check .
	$(PY) -m mypy

# The C code alone, without Python.
selftest: build/selftest
	build/selftest

build/selftest: $(SOURCES) $(HEADERS)
	@mkdir -p build
	$(CC) $(WARNINGS) -O2 $(SOURCES) -pthread -lm -o $@

check-long: $(FUZZING) selftests test-ray
	$(PY) -m pytest -q -m long
	$(PY) -m benchmarks.reliability --long

# Seconds of each fuzzer that can be had here; `make check-long` runs millions of executions.
fuzz: $(FUZZING)
	$(PY) -m fuzz

# The quick rows of docs/RELIABILITY.md; `make check-long` measures all.
reliability: $(FUZZING)
	$(PY) -m benchmarks.reliability

# The self-test under every compiler and set of flags that works here; the others are named and left out.
selftests: $(SOURCES) $(HEADERS)
	@mkdir -p build
	@set -e; for cc in gcc clang; do \
	  for flags in -O0 -O3 '-O2 -m32' '-O1 -g -fsanitize=thread' \
	      '-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all'; do \
	    if echo 'int main(void) { return 0; }' | $$cc $$flags -x c - -o build/probe 2>/dev/null && build/probe; then \
	      echo "== $$cc $$flags"; \
	      $$cc $(WARNINGS) $$flags $(SOURCES) -pthread -lm -o build/selftest-long; \
	      build/selftest-long; \
	    else \
	      echo "== $$cc $$flags: not available here, left out"; \
	    fi; \
	  done; \
	done

benchmarks: $(INSTALLED)
	$(PY) -m benchmarks.everything

# Resumes the long runs in the background, one a core, and tells how far they are; `make train-stop` has them save.
train: $(INSTALLED)
	$(PY) -m training.campaign start $(RUNS) --data '$(DATA)' $(START:%=--start %)

train-stop:
	$(PY) -m training.campaign stop $(RUNS)

# The decoder for browsers, which is committed: web/README.md says for which tools. Then the weights that it needs.
web: $(WASM) $(INSTALLED)
	$(PY) -m pillow_cwic.tools.web web/dist

$(WASM): $(WEB_SOURCES) $(HEADERS) $(wildcard web/libc/*.h) Makefile
	@mkdir -p $(@D)
	$(WASM_CC) $(WASM_FLAGS) $(WEB_SOURCES) -o $@
	@chmod -x $@

# The sdist, and the wheel from it, so that nothing stale in build/ gets into it.
wheel: $(INSTALLED)
	$(PY) -m build --no-isolation

sdist: $(INSTALLED)
	$(PY) -m build --sdist --no-isolation

$(PY):
	$(PYTHON) -m venv $(VENV)

# Once more whenever the C code or the packaging changes. torch comes first, so that nothing else chooses its build.
$(INSTALLED): pyproject.toml setup.py pillow_cwic/coding/build_coder.py $(SOURCES) $(HEADERS) | $(PY)
	@$(PY) -c 'import importlib.util, sys; sys.exit(not importlib.util.find_spec("torch"))' \
	  || { echo 'installing $(TORCH)' && $(PY) -m pip install -q '$(TORCH)'; }
	$(PY) -m pip install -q 'setuptools>=77' wheel 'cffi>=1.16'
	$(PY) -m pip install -q --no-build-isolation -e '.[test,bench]'
	@touch $@

# What fuzzing and mutation testing want besides; without it they run plainer, or say what they left out.
$(FUZZING): $(INSTALLED)
	$(PY) -m pip install -q --no-build-isolation -e '.[reliability]' || echo 'left out: the extra [reliability]'
	@touch $@

$(WITH_RAY): $(INSTALLED)
	$(PY) -m pip install -q --no-build-isolation -e '.[ray]'
	@touch $@

clean:
	rm -rf build dist *.egg-info pillow_cwic/coding/_coder*.so web/dist/*.weights
