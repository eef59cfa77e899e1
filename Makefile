# make demo       set everything up and run the main job on real photographs
# make quick      the tests that start no process, server, browser or network: after every change
# make test       set everything up and pass the tests, JOBS at once (as many as processors)
# make test-all   the slow tests too
# make kernels    the compiled kernels, where they are not there yet; the targets above do it, too
# make check      lint, format, types, import contracts
# make coverage   what the tests reach; fails where a folder of MEASURED falls below 90 %
# make hooks      lint, format and import contracts before every commit of yours
# make docs       docs/commands.md and the pictures in docs/
# make screenshots  docs/report.jpg, by Chromium
# make man        man pages in build/man
# make sheets     the sheets in docs/featvis.md; WEIGHTS_A, WEIGHTS_B: ImageNet checkpoints of
#                 squeezenet1_1 and squeezenet1_0
# make bench-featvis  render-featvis against lucent; WEIGHTS_A and WEIGHTS_B as above
# make bench      the benchmarks that need no GPU
# make bench-fractals  our fractals against a plain Numba game and flam3, five minutes
# make bench-safety  does a mixing set make classifiers safer? minutes, on digits

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
JOBS ?= $(shell getconf _NPROCESSORS_ONLN)
# With bytecode kept: compiling test modules anew takes five seconds of every run, and our own
# modules a seventh of a command's start.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(JOBS) --dist loadscope
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Whatever comes next also works without them, only later: hence the leading -
KERNELS := -$(BIN)/python -m pixmix_kernels

.PHONY: demo quick test test-all kernels check coverage hooks format docs screenshots sheets man bench \
	bench-featvis bench-fractals bench-safety wheel clean

# Bytecode is made apart from pip, which takes one processor for it. Some packages hold files that
# are no Python of this version: no matter.
$(VENV)/.installed-%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --no-compile -e '.[$*]'
	$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	touch $@

kernels: $(VENV)/.installed-demo
	$(KERNELS)

demo: $(VENV)/.installed-demo
	$(KERNELS)
	PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh demo

quick: $(VENV)/.installed-test
	$(KERNELS) --all
	$(PYTEST) -m 'not (slow or long or browser or process or ray or server or torch)'

test: $(VENV)/.installed-test
	$(KERNELS) --all
	$(PYTEST)

test-all: $(VENV)/.installed-test
	$(KERNELS) --all
	$(PYTEST) -m ''

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

MEASURED := commands options pipelines sources outputs storage

coverage: $(VENV)/.installed-dev
	mkdir -p build/coverage
	$(PYTEST) --cov --cov-report=
	for folder in $(MEASURED); do echo "$$folder:"; \
		$(BIN)/coverage report --skip-covered --show-missing --fail-under=90 \
			--include="pixmix_cli/$$folder/*" || exit 1; done

hooks: $(VENV)/.installed-dev
	$(BIN)/pre-commit install

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-demo
	$(BIN)/python docs/make_commands.py docs/commands.md
	PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh demo
	$(BIN)/python docs/make_pictures.py demo docs
	rm -rf build/fractals
	$(BIN)/pixmix generate-fractals -n 100 --size 512 -qq -o build/fractals > /dev/null
	$(BIN)/python docs/make_fractal_sheets.py build/fractals docs

screenshots: demo
	$(BIN)/python docs/make_screenshot.py demo/report.html docs/report.jpg

man: $(VENV)/.installed-dev
	$(BIN)/python docs/make_man.py build/man

bench-fractals: $(VENV)/.installed-demo
	$(BIN)/python -m benchmarks.fractals

sheets: $(VENV)/.installed-demo
	PATH="$(CURDIR)/$(BIN):$$PATH" sh docs/make_featvis_sheets.sh demo/sheets docs \
		"$(WEIGHTS_A)" "$(WEIGHTS_B)"

# lucent's own requirements ask for old versions of what it hardly uses, so it comes without them
bench-featvis: $(VENV)/.installed-demo
	$(PIP) --no-deps torch-lucent==0.1.8 kornia==0.4.1
	$(PIP) decorator ipython
	$(BIN)/python -W ignore -m benchmarks.featvis $(if $(WEIGHTS_A),--weights-a $(WEIGHTS_A)) \
		$(if $(WEIGHTS_B),--weights-b $(WEIGHTS_B))

bench: $(VENV)/.installed-demo
	$(BIN)/python -m benchmarks.bake

bench-safety: $(VENV)/.installed-test
	$(BIN)/python -m benchmarks.safety --smoke -o demo/safety

wheel: $(VENV)/.installed-dev
	$(BIN)/python -m build --wheel --outdir dist .

clean:
	rm -rf $(VENV) demo build dist *.egg-info
