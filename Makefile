# Everything below sets itself up: a virtual environment in .venv, made anew when pyproject.toml or the core changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
QUICK := $(addprefix tests/,core operations reading facade test_timers.py test_imports.py)
SOURCES := pyproject.toml setup.py $(wildcard quantum_pulse/core/native/*)

# Tests start hundreds of interpreters, and each would compile the package anew where the environment asks for no bytecode.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test quick test-all lab check bench sanitize tsan pythons freethreaded docs wheel clean

demo: $(VENV)/.base  ## record a real program and show what is slow in it
	$(BIN)/quantum-pulse demo

# What measures time runs when nothing else does. Much of the rest waits for agents, servers and browsers. What fails is
# run once more by itself, as CPython's own suite does: a machine that others share may stop any test for seconds. The
# first failure stays on the screen.
WORKERS ?= $(shell echo $$(($$(nproc) * 3 / 2)))
tested = $(BIN)/python -m pytest $(1) || { test $$? = 1 && echo "once more, by itself:" && \
	$(BIN)/python -m pytest --last-failed --last-failed-no-failures none $(2); }
test: $(VENV)/.test  ## run the tests
	$(call tested,-n $(WORKERS) --dist worksteal -m "not slow and not alone",-m "not slow and not alone")
	$(call tested,-m "not slow and alone",-m "not slow and alone")

quick: $(VENV)/.test  ## while you work: two minutes of tests, of recording and of reading
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow and not alone and not browser and not thorough" $(QUICK)

test-all: $(VENV)/.test  ## all tests, with the long fault runs: more than an hour
	KILLS=200 EXAMPLES=300 $(BIN)/python -m pytest --timeout 1800 -m ""

lab: $(VENV)/.lab  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab --ServerApp.root_dir=notebooks

check: $(VENV)/.test $(VENV)/.check  ## linters, docstrings, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m tests.docs.docstrings
	$(BIN)/mypy
	$(BIN)/python -m pytest --override-ini addopts="--import-mode=importlib -q" tests/typing
	$(BIN)/lint-imports

bench: $(VENV)/.bench  ## benchmarks; nothing else should run meanwhile
	$(BIN)/python -m tests.perf $(ONLY)

# The native core under AddressSanitizer and UBSan; CPython leaks on purpose as it ends, so leaks are not looked for, and
# a sanitizer keeps what is freed for a while, so how memory grows is not looked at either. What it finds ends the process
# and is in files, because tests look at what programs write to stderr, and it also warns there of what is no fault.
SANITIZED := build/sanitized
sanitize: $(VENV)/.test  ## the recorder's tests with a core that checks each of its accesses
	rm -rf $(SANITIZED)
	CFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g -O1" \
		$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --target $(SANITIZED) .
	cd $(SANITIZED) && LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
		ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:handle_segv=0:log_path=$(CURDIR)/$(SANITIZED)/found \
		UBSAN_OPTIONS=log_path=$(CURDIR)/$(SANITIZED)/found:print_stacktrace=1 PYTHONPATH=$(CURDIR)/$(SANITIZED) QUANTUM_PULSE_CORE=native \
		$(CURDIR)/$(BIN)/pytest -c $(CURDIR)/pyproject.toml --rootdir $(CURDIR) -p no:cacheprovider --timeout 600 \
		--deselect tests/recorder/test_session.py::test_a_thousand_recordings_leave_nothing \
		$(addprefix $(CURDIR)/tests/,core recorder faults operations test_timers.py)

# No Python is part of it, only its headers: CPython's own synchronisation would have to be built for the sanitizer too.
TSAN := build/tsan
RACED := $(addprefix quantum_pulse/core/native/,segments.c slots.c texts.c threads.c clock.c parallel.c)
tsan:  ## the core's code under ThreadSanitizer: threads that record at once, and an agent that takes what they record
	set -e; mkdir -p $(TSAN)/rings; \
	python=$$(tests/freethreaded/build.sh "$(FREETHREADED)"); \
	include=$$($$python -c "import sysconfig; print(sysconfig.get_path('include'))"); \
	gcc -g -O1 -std=c11 -D_GNU_SOURCE -Wall -Wno-tsan -fsanitize=thread -no-pie -Wl,--unresolved-symbols=ignore-all \
		-Iquantum_pulse/core/native -I"$$include" -o $(TSAN)/handover tests/freethreaded/handover.c $(RACED); \
	rm -f $(TSAN)/rings/*; TSAN_OPTIONS=halt_on_error=1 $(TSAN)/handover $(TSAN)/rings

# Those that are found; others by PYTHONS="/opt/python3.13/bin/python ...".
PYTHONS ?= $(foreach minor,11 12 13 14,$(shell command -v python3.$(minor)))
pythons:  ## the recorder's tests on each Python of PYTHONS
	set -e; for python in $(PYTHONS); do \
		folder=build/pythons/$$($$python -c "import platform; print(platform.python_version())"); \
		echo "$$folder"; \
		test -x $$folder/bin/python || $$python -m venv $$folder; \
		$$folder/bin/python -m pip install -qq --disable-pip-version-check '.[test]'; \
		(cd $$folder && bin/python -m pytest -c $(CURDIR)/pyproject.toml --rootdir $(CURDIR) -p no:cacheprovider \
			$(addprefix $(CURDIR)/tests/,core recorder operations test_timers.py)); \
	done

# A Python without the interpreter lock, built from source once and kept there; FREETHREADED=/opt/python3.13t takes or
# makes another.
FREETHREADED ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/quantum_pulse/python3.13t
# Of the test extra, what has no wheel for it or needs what has none; greenlet, below playwright, brings the lock back.
LOCKED := aiosqlite axe-playwright-python celery dask django duckdb eventlet fastapi flask gevent gunicorn httpx ipykernel joblib jupyterlab litestar nbclient nbconvert notebook playwright polars sqlalchemy starlette uvicorn uvicorn-worker uvloop websockets
# The check is without PYTHON_GIL=0, under which no module could bring the lock back; the tests are with it, so that
# none of theirs does. test_parts.py reads captures with duckdb and polars.
freethreaded:  ## the recorder's tests and how recording scales on a Python without the interpreter lock
	set -e; folder=build/pythons/3.13t; \
	python=$$(tests/freethreaded/build.sh "$(FREETHREADED)"); \
	test -x $$folder/bin/python || $$python -m venv $$folder; \
	$$folder/bin/python -m pip install -qq --disable-pip-version-check --only-binary :all: . $$($$python -c \
		"import re, sys, tomllib; \
		wanted = tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['test']; \
		print(*(one for one in wanted if re.match('[A-Za-z0-9_.-]+', one)[0] not in sys.argv))" $(LOCKED)); \
	cd $$folder; \
	env -u PYTHON_GIL bin/python -W error::RuntimeWarning -c "import importlib, pkgutil, sys, quantum_pulse as qp; \
		names = [one.name for one in pkgutil.walk_packages(qp.__path__, 'quantum_pulse.') if 'integrations' not in one.name]; \
		[importlib.import_module(name) for name in names if not name.endswith('__main__')]; \
		print('core:', qp.core.core.NAME); \
		sys.exit('the interpreter lock came back' if sys._is_gil_enabled() else qp.core.FALLBACK_REASON)"; \
	PYTHON_GIL=0 bin/python -m pytest -c $(CURDIR)/pyproject.toml --rootdir $(CURDIR) -p no:cacheprovider \
		--ignore $(CURDIR)/tests/recorder/test_parts.py \
		$(addprefix $(CURDIR)/tests/,core recorder operations test_timers.py); \
	bin/python -c "import sys; sys.path.append(sys.argv.pop()); from tests.perf.__main__ import main; sys.exit(main())" \
		parallel $(CURDIR)

docs: $(VENV)/.docs  ## the documentation site, in build/site; a warning is an error
	$(BIN)/python -m quantum_pulse.reading.format
	NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict --quiet --site-dir build/site
	$(BIN)/python -m tests.docs.offline build/site

# A wheel as a user gets it. CC and --only-binary keep a compiler from helping, and the tests run beside the environment,
# so that they cannot import the sources.
WHEELS := build/wheels
QUICK_OF_WHEEL := core/test_spans.py core/test_tasks.py operations reading/test_capture.py export/test_exporting.py test_timers.py
wheel: $(VENV)/.wheel  ## a wheel, audited, and tested where no compiler is
	rm -rf $(WHEELS) build/lib* build/bdist*
	$(BIN)/python -m pip wheel -qq --disable-pip-version-check --no-deps --wheel-dir $(WHEELS)/built .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/auditwheel repair --wheel-dir $(WHEELS) $(WHEELS)/built/*.whl
	$(BIN)/auditwheel show $(WHEELS)/*.whl
	$(PYTHON) -m venv $(WHEELS)/environment
	CC=false $(WHEELS)/environment/bin/python -m pip install -qq --disable-pip-version-check --only-binary :all: \
		"$$(echo $(WHEELS)/*.whl)[test]"
	cd $(WHEELS)/environment && CC=false bin/python -c "import quantum_pulse.core as found; \
		assert found.core.NAME == 'native', found.FALLBACK_REASON; print(found.__file__)"
	cd $(WHEELS)/environment && CC=false bin/python -m pytest -c $(CURDIR)/pyproject.toml --rootdir $(CURDIR) \
		-p no:cacheprovider $(addprefix $(CURDIR)/tests/,$(QUICK_OF_WHEEL))

$(VENV)/.base: $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable .
	touch $@

$(VENV)/.test: $(VENV)/.base
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[test]'
	# Tests in a browser are skipped, and say so, where there is none and none can be installed.
	$(BIN)/python -m tests.browser || { apt-get -qq update && apt-get -qq install --yes --no-install-recommends chromium; } || true
	touch $@

$(VENV)/.lab: $(VENV)/.base
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[lab]'
	touch $@

$(VENV)/.bench: $(VENV)/.base
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[bench]'
	touch $@

$(VENV)/.docs: $(VENV)/.base
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[docs]'
	touch $@

$(VENV)/.wheel: $(VENV)/.base
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[wheel]'
	touch $@

$(VENV)/.check: $(VENV)/.base
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[check]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info quantum_pulse/core/*.so
