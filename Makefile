# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3.11
PY := .venv/bin/python
# Ray and torch start three times slower without compiled bytecode.
export UV_COMPILE_BYTECODE := 1
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test faults lint types ui lock clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

.venv/ready: requirements.txt pyproject.toml
	test -x $(PY) || $(PYTHON) -m venv .venv
	sed -n '/^uv==/,/# via/p' requirements.txt > .venv/uv.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
	.venv/bin/uv pip sync --quiet --python $(PY) --require-hashes requirements.txt
	.venv/bin/uv pip install --quiet --python $(PY) --no-deps --no-build-isolation --editable .
	touch $@

setup: .venv/ready  ## the environment, in .venv

demo: setup  ## Table 6 (patch size) on the embedded digits, at smoke scale
	@$(PY) jobs/ablation_patch.py --scale smoke
	@printf '\nNext:\n  make ui                                     compare the runs in MLflow, on 127.0.0.1:5000\n  $(PY) jobs/ablation_patch.py --help   the same at other scales, on your own data\n'

test: setup lint types  ## style, types and every test
	OMP_NUM_THREADS=1 $(PY) -m pytest -m "not cluster" -n auto --dist loadfile --durations=20
	$(PY) -m pytest -m cluster --durations=20

faults: setup  ## workers, drivers, machines, trials, servers killed at every moment: half an hour
	$(PY) -m pytest tests/faults --all-moments

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: setup
	.venv/bin/mypy

ui: setup  ## the MLflow UI of the local record
	.venv/bin/mlflow ui --host 127.0.0.1 --port 5000 --backend-store-uri sqlite:///mlflow.db

lock:  ## resolve requirements.txt anew
	.venv/bin/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --custom-compile-command "make lock" --quiet -o requirements.txt

clean:  ## remove the environment; recorded runs stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
