# One command per job. Each does all the set-up it needs on a machine with python3 (3.11 or newer) and make.

PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

# The pages in reading order: a later chapter may import what an earlier one exports.
CHAPTERS := $(shell sed -n 's|^ *- file: *chapters/||p' _toc.yml)
# Outputs are compared; a kernel that dies or hangs is noticed. With nothing compiled before, the slowest cell takes ten
# seconds on two cores that have nothing else to do; the limit is for those that never end.
NBVAL := -m pytest --quiet -p tools.kernel_watch --nbval --nbval-current-env --nbval-cell-timeout=120 \
  --nbval-kernel-startup-timeout=120 --numprocesses=2 --dist=loadfile chapters
# Folders are listed too: their time changes when a file is removed.
find = $(shell find $(1) \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -o $(2) -print)
NOTEBOOKS := $(wildcard chapters/*.ipynb)
LIBRARY := $(call find,convlib,-name '*.py')
# The pages on performance and on how the book is checked show these.
RESULTS := $(call find,benchmarks/results,) tests/data/mutation_score.json
PAGES := $(call find,chapters tools/book,) _config.yml _toc.yml

.PHONY: help book test bounds coverage machines once-more lowest parity bench bench-shapes bench-layers bench-networks \
  bench-page mutate errata lab text store rerun export browser clean distclean
.DELETE_ON_ERROR:

help:
	@echo 'make book      confirm the stored outputs, build the pages, say where they are'
	@echo 'make test      the book, then everything else that must hold on this machine'
	@echo 'make bounds    the tests of the kernels, compiled with a check of every index (part of make test)'
	@echo 'make coverage  the tests of convlib without compiling, and how much of it they reach (part of make test)'
	@echo 'make machines  chapters and tests of the kernels, compiled as for machines with other vectors: AVX2, plain x86-64'
	@echo 'make lowest    the tests of convlib with the oldest NumPy and Numba that it may be used with'
	@echo 'make parity    compare the results with PyTorch and with the tests of ONNX'
	@echo 'make lab       open the chapters in JupyterLab'
	@echo 'make text CHAPTER=one_kernel'
	@echo '               write that chapter as text into _build/text, to edit it there'
	@echo 'make store     execute and store every edited text, and export its code into convlib/'
	@echo 'make rerun     execute and store every chapter again, after a change that reaches several of them'
	@echo 'make export    write convlib/ from the chapters'
	@echo 'make browser   open every page in Chromium (must be installed), light, dark and as on a phone, and check that all'
	@echo '               can read and use it; screenshots in _build/screens'
	@echo 'make mutate    change each number and sign of the book, count the changes that a check notices, and show it'
	@echo 'make errata    write the page of mistakes from tests/data/errata.json'
	@echo 'make bench     measure convlib beside PyTorch and others on this machine, and show it on the performance page'
	@echo '               (parts of it: bench-shapes, bench-layers, bench-networks; with other vectors: bench-as-avx2)'
	@echo 'make clean     remove what was built, but not _build/text; make distclean removes that and .venv too'

# --- set-up -------------------------------------------------------------------------------------------------

.venv/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed. To name another: make PYTHON=python3.12 ...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo '$(PYTHON) has no venv; on Debian or Ubuntu: apt install python3-venv' >&2; exit 1; }
	@echo 'Setting up .venv (a minute or two, once) ...'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --editable '.[book,test,cluster]'
	@touch $@

# Extras that only one command needs: .venv/.with-lab, .venv/.with-browser, .venv/.with-bench, .venv/.with-parity
.venv/.with-%: .venv/.installed
	@$(BIN)/python -m pip install -qq --editable '.[$*]'
	@touch $@

# --- the book -----------------------------------------------------------------------------------------------

# The pages show the outputs stored in the notebooks. Every cell is run again here, and each output compared.
_build/.confirmed: $(NOTEBOOKS) $(LIBRARY) $(RESULTS) .venv/.installed
	@mkdir -p _build && rm -f $@
	@echo 'Running every chapter and comparing its outputs with the stored ones ...'
	@$(BIN)/python $(NBVAL)
	@touch $@

# Always a full build: an incremental one forgets the warnings of pages it does not read again.
_build/.book: _build/.confirmed $(PAGES)
	@rm -rf $@ _build/html _build/.doctrees _build/jupyter_execute
	@echo 'Building the pages ...'
	@$(BIN)/jupyter-book build . --all -W -n --keep-going --quiet >_build/book.log 2>&1 || \
	  { cat _build/book.log; exit 1; }
	@touch $@

book: _build/.book
	@echo 'The book: file://$(CURDIR)/_build/html/index.html'

# --- checks -------------------------------------------------------------------------------------------------

test: book
	$(BIN)/python tools/export.py --check
	$(BIN)/ruff check --quiet
	$(BIN)/python -m pytest --numprocesses=2
	$(MAKE) bounds
	$(MAKE) coverage

# The tests of the library itself. They run once more without compiling.
TESTS_OF_CONVLIB := $(addprefix tests/test_,functional.py choosing.py processes.py interrupts.py board.py simd.py \
  same_bits.py blocks.py product.py back.py planes.py direct.py winograd.py transforms.py numpy_kernels.py shapes.py \
  general_reference.py reference.py gradcheck.py datasets.py figures.py learning_figures.py pooling.py layers.py \
  losses.py mse.py optimizers.py training.py digits.py cluster.py)
# Those of compiled code: they run again with checked indices, and as on other machines.
TESTS_OF_KERNELS := $(addprefix tests/test_,functional.py choosing.py board.py simd.py same_bits.py blocks.py \
  product.py back.py planes.py direct.py winograd.py pooling.py layers.py)
# Each worker begins in a part of its own: else both would compile the same at the same time.
PYTEST_KERNELS := $(BIN)/python -m pytest --quiet --numprocesses=2 --dist=worksteal $(TESTS_OF_KERNELS)
# Those of the checker of answers compile nothing: one more run is enough for them, the one that counts lines.
TESTS_OF_CHECK := $(addprefix tests/test_,check.py exercises.py own_layer.py catalogue.py tracing.py unseen_answers.py)

# Compiled with a check of every index. The code goes to a place of its own: in its cache, Numba does not tell it
# from code without the checks. An absolute path, because some tests start programs in other folders.
bounds: .venv/.installed
	@rm -rf _build/bounds && mkdir -p _build/bounds
	NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR='$(CURDIR)/_build/bounds' \
	  $(PYTEST_KERNELS) tests/test_bounds.py::test_with_numba_watching_every_index

# Not compiled, so that every line can be followed, but without the tests that take long then and reach no other lines
# (all other runs have them); and on every machine as with the widest vectors, since the blocks that a computation is
# cut into follow them. The few lines that only exist when something is compiled are reached by the last two programs,
# which compile anew.
NOT_COMPILED := NUMBA_DISABLE_JIT=1 NUMBA_CPU_NAME=skylake-avx512 NUMBA_CPU_FEATURES= COVERAGE_FILE=_build/coverage/data

coverage: .venv/.installed
	@mkdir -p _build && rm -rf _build/coverage && mkdir _build/coverage
	$(NOT_COMPILED) $(BIN)/python -m pytest --quiet --numprocesses=2 -m "not slow" --cov=convlib --cov-report= \
	  $(TESTS_OF_CONVLIB) $(TESTS_OF_CHECK)
	$(NOT_COMPILED) PYTHONPATH=. $(BIN)/python -m coverage run --append tests/check_kernels.py margins 12
	NUMBA_CACHE_DIR=_build/coverage COVERAGE_FILE=_build/coverage/data PYTHONPATH=. \
	  $(BIN)/python -m coverage run --append tests/check_kernels.py margins 4
	NUMBA_CACHE_DIR=_build/coverage COVERAGE_FILE=_build/coverage/data \
	  $(BIN)/python -m coverage run --append -m pytest --quiet tests/test_board.py tests/test_simd.py
	COVERAGE_FILE=_build/coverage/data $(BIN)/python -m coverage report --show-missing --fail-under=95

# Chapters and tests of the kernels as on machines with other vectors than this one's: Numba compiles for those, and what it
# compiles is computed here. What this machine cannot run, or has run anyway, is left out, and that is said.
machines: $(addprefix as-on-,avx512 avx2 sse2)

as-on-%: .venv/.installed
	@rm -rf _build/machines/$*
	@$(BIN)/python tools/machines.py $* $(MAKE) once-more

IN_BOUNDS := what_lies_around_the_arrays_stays_as_it_is arrays_at_the_edge_of_forbidden_pages

once-more:
	$(BIN)/python $(NBVAL)
	$(PYTEST_KERNELS) $(IN_BOUNDS:%=tests/test_bounds.py::test_%)

# The tests of convlib once more, with the oldest NumPy and Numba that pyproject.toml allows, and without matplotlib.
LOWEST := $(shell sed -n '/^dependencies/s/>=\([0-9.]*\),<[0-9]*/==\1.*/gp' pyproject.toml | tr -d '[]",' | cut -d= -f2-)

lowest:
	@mkdir -p _build && rm -rf _build/lowest && $(PYTHON) -m venv _build/lowest
	_build/lowest/bin/python -m pip install -qq $(LOWEST) pytest hypothesis
	PYTHONPATH=. NUMBA_CACHE_DIR='$(CURDIR)/_build/lowest/cache' \
	  _build/lowest/bin/python -m pytest --quiet -p no:cacheprovider $(filter-out %figures.py %cluster.py,$(TESTS_OF_CONVLIB))

parity: .venv/.with-parity
	$(BIN)/python -m pytest tests/parity

browser: _build/.book .venv/.with-browser
	$(BIN)/python -m pytest --numprocesses=2 tests/browser
	$(BIN)/python tests/browser/first_paint.py

# Every number and sign of the text, and a sample of those in the code: some minutes.
mutate: .venv/.installed
	$(BIN)/python tools/mutants.py
	$(BIN)/python tools/chapter.py run chapters/checked.ipynb

errata: .venv/.installed
	$(BIN)/python tools/errata.py

# --- speed --------------------------------------------------------------------------------------------------

# Results of several machines side by side: make bench NAME=laptop. The page looks closely at the newest.
NAME ?= latest
SEED ?= 2022
RESULT = --output benchmarks/results

# One after the other, whatever make was told: else they would measure each other.
bench: .venv/.with-bench
	$(MAKE) --jobs=1 bench-shapes bench-layers bench-networks bench-page

# The fourteen shapes, memory, compiling, training steps, and an epoch of the reader of digits.
bench-shapes: .venv/.with-bench
	$(BIN)/python -m benchmarks.run $(RESULT)/$(NAME).json
	$(BIN)/python -m benchmarks.epoch $(RESULT)/learning/epoch.json

# A sample of the layers of real networks, and what the library's other algorithms would have taken.
bench-layers: .venv/.with-bench
	$(BIN)/python -m benchmarks.zoo --layers 40 --regret --seed $(SEED) $(RESULT)/zoo/layers-$(NAME).json

bench-networks: .venv/.with-bench
	$(BIN)/python -m benchmarks.zoo --networks --rounds 3 $(RESULT)/zoo/networks-$(NAME).json

bench-page: .venv/.installed
	$(BIN)/python tools/chapter.py run chapters/performance.ipynb chapters/digits.ipynb

# The last two as on a machine with narrower vectors, with everybody told so: make bench-as-avx2
bench-as-%: .venv/.with-bench
	$(BIN)/python -m benchmarks.vectors $* $(MAKE) --jobs=1 bench-layers bench-networks NAME=$(NAME)-$*

# --- writing ------------------------------------------------------------------------------------------------

# JupyterLab shows drawings that it did not make itself only in notebooks that are trusted.
lab: .venv/.with-lab
	@$(BIN)/jupyter trust chapters/*.ipynb >/dev/null
	$(BIN)/jupyter lab chapters

text: .venv/.installed
	@test -n '$(CHAPTER)' || { echo 'Which chapter? make text CHAPTER=one_kernel' >&2; exit 1; }
	$(BIN)/python tools/chapter.py text chapters/$(CHAPTER).ipynb

store: .venv/.installed
	@set -e; for chapter in $(CHAPTERS); do \
	  text=_build/text/$$chapter.md; notebook=chapters/$$chapter.ipynb; \
	  if [ -f $$text ] && { [ ! -f $$notebook ] || [ $$text -nt $$notebook ]; }; then \
	    $(BIN)/python tools/chapter.py store $$text; \
	    $(BIN)/python tools/export.py; \
	  fi; \
	done

rerun: .venv/.installed
	$(BIN)/python tools/chapter.py run $(wildcard $(CHAPTERS:%=chapters/%.ipynb))

export: .venv/.installed
	$(BIN)/python tools/export.py

clean:
	@find _build -mindepth 1 -maxdepth 1 ! -name text -exec rm -rf {} + 2>/dev/null || true
	@rm -rf .pytest_cache .ruff_cache .hypothesis dist
	@find . -path ./.venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

distclean: clean
	@rm -rf _build .venv
