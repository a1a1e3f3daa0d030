# Every target sets itself up in .venv and is safe to repeat. Needs Python 3.11 or newer.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# One thread a test process: two of them share two cores.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.PHONY: demo test test-fast test-slow test-exhaustive test-gpu test-wheel doctest lint \
	lint-imports gate bench bench-full bench-report bench-truncated calibrate targets claims docs browser mutants test-lowest generated clean

demo: .venv/demo
	$(BIN)/python docs/demo_data.py out
	$(BIN)/specdesc recover out/brick.png --corrupt 0.2 --noise 0.02 \
	  --backend numpy --backend torch --out out
	$(BIN)/specdesc recover out/cells.csv --out out
	$(BIN)/specdesc recover out/ball --frames --out out

test: .venv/test
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2

# While you work: under a minute.
test-fast: .venv/test
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --fast

test-slow: .venv/test
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 -m "slow and not exhaustive and not gpu and not kernels"

test-exhaustive: .venv/test
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 -m "exhaustive and not gpu"

test-gpu: .venv/test
	$(BIN)/python -m pytest -m gpu

test-wheel: .venv/test
	$(BIN)/python -m pytest -m wheel

doctest: .venv/test
	$(BIN)/python -m pytest --doctest-modules specdesc
	$(BIN)/python -m doctest -o NORMALIZE_WHITESPACE $$(grep -l '^>>>' docs/*.md)

lint: .venv/test .venv/lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) lint-imports
	$(BIN)/codespell
	$(MAKE) generated

# The pages that are made of other files are what those files give.
generated: .venv/test
	$(BIN)/python docs/generate_support.py --check
	$(BIN)/python docs/generate_auto.py --check
	$(BIN)/python docs/generate_design.py --check
	$(BIN)/python docs/generate_device.py --check
	$(BIN)/python docs/generate_proximal.py --check
	$(BIN)/python docs/generate_claims.py --check

# On the layout of the wheel, where the leaves lie below specdesc.backends.
lint-imports: .venv/lint
	rm -rf build/imports
	mkdir -p build/imports
	cp -R specdesc build/imports
	cp -R backends/. build/imports/specdesc/backends
	cd build/imports && ../../$(BIN)/lint-imports --no-logo --no-cache ../../pyproject.toml

# Counts that must not change, and one wide ratio.
gate: .venv/test
	$(ONE_THREAD) $(BIN)/python -m benchmarks.gate

bench: .venv/test .venv/bench
	$(BIN)/asv machine --yes --config benchmarks/asv.conf.json
	$(ONE_THREAD) $(BIN)/asv run --python=same --quick --bench '^(?!critical\..*Full\.)' \
	  --config benchmarks/asv.conf.json
	$(ONE_THREAD) $(BIN)/python -m benchmarks.targets orthogonalize --quick
	$(ONE_THREAD) $(BIN)/python -m benchmarks.targets auto --quick

# Everything with repeats, some hours; kept under .asv/results as of this commit.
bench-full: .venv/test .venv/bench
	$(BIN)/asv machine --yes --config benchmarks/asv.conf.json
	$(ONE_THREAD) $(BIN)/asv run --python=same --set-commit-hash $$(git rev-parse HEAD) \
	  --config benchmarks/asv.conf.json

# What is kept, as pages: .asv/html/index.html.
bench-report: .venv/bench
	$(BIN)/asv publish --config benchmarks/asv.conf.json HEAD

# The comparison with peers, on all threads: keep other work off the machine. A few minutes.
targets: .venv/test
	$(BIN)/python -m benchmarks.targets orthogonalize
	$(BIN)/python -m benchmarks.targets auto

# What method="auto" is chosen from. Likewise, and before the comparison.
calibrate: .venv/test
	$(BIN)/python -m benchmarks.calibrate

# Beside SciPy, scikit-learn and torch; writes docs/benchmarks-truncated.md. Some minutes.
bench-truncated: .venv/test .venv/bench
	$(BIN)/python benchmarks/truncated.py

# Every claim in full, most of an hour at worst; goes on where an interrupted run was.
claims: .venv/test
	$(ONE_THREAD) $(BIN)/specdesc verify --all --out out/claims
	$(BIN)/python docs/generate_claims.py out/claims

docs: .venv/docs
	rm -rf docs/reference
	$(BIN)/sphinx-build -E -W -q docs docs/_build/html

# Needs a Chromium of the system; without one the tests are skipped, with the reason.
browser: docs .venv/test
	$(BIN)/python -m pytest -m browser tests/house/test_browser.py

# Every change of tests/mutation/mutants.toml has to be noticed by a test: half an hour on two cores.
mutants: .venv/test
	$(ONE_THREAD) $(BIN)/python tests/mutation/run.py

# The oldest NumPy and array-api-compat that pyproject.toml allows, in an environment of their own.
test-lowest:
	test -x .lowest/bin/python || $(PYTHON) -m venv .lowest
	.lowest/bin/python -m pip install --quiet numpy==2.0.0 array-api-compat==1.13 \
	  "scipy<1.16" array-api-strict hypothesis mpmath pytest pytest-xdist
	.lowest/bin/python -m pip install --quiet --no-deps --editable .
	$(ONE_THREAD) .lowest/bin/python -m pytest -n 2 --fast tests/polar_factor tests/prox tests/rules \
	  tests/truncated_svd tests/trees tests/diagnostics

clean:
	rm -rf .venv .lowest .asv build dist out docs/_build docs/reference docs/gallery/pictures *.egg-info

.venv/pip:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'needs Python 3.11 or newer')"
	$(PYTHON) -m venv .venv
	$(PIP) --upgrade "pip>=25.1"
	touch $@

# Entry points are fixed when the package is installed, hence the dependency.
.venv/demo: pyproject.toml constraints.txt | .venv/pip
	$(PIP) --editable ".[data,demo,torch]"
	touch $@

.venv/test: .venv/demo
	$(PIP) --group test --group peers --group frameworks
	touch $@

.venv/lint .venv/bench: .venv/%: .venv/demo
	$(PIP) --group $*
	touch $@

.venv/docs: .venv/demo
	$(PIP) --group docs
	touch $@
