# make demo: a phantom CT source through the whole pipeline.   make test: lint, types and all tests.
# Both make the environment first. Only Python 3.11+, pip and make are needed.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo
# EXTRAS=dev leaves TensorFlow out (2 GB on the disk); tests that need Keras are skipped then.
EXTRAS ?= dev,train,export

.PHONY: demo test quick lint types environment clean

demo: environment
	bash docs/demo.sh "$(abspath $(BIN))" "$(DEMO)"

# On TensorFlow, and what needs Keras on JAX, too.
test: environment lint types
	.ci/test $(BIN)

quick: environment
	$(BIN)/pytest -m "not slow"

lint: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Types are checked on an installed copy: generators/ and manifests/ take their places inside the package there.
types: environment
	rm -rf build  # a stale copy of a module would be checked too
	$(BIN)/pip install -q --no-deps --target build/types .
	cd build/types && "$(abspath $(BIN))/mypy" --config-file ../../pyproject.toml \
	  --python-executable "$(abspath $(BIN))/python" -p imagemask

environment: $(VENV)/.made

$(VENV)/.made: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --upgrade pip -c constraints.txt
	$(BIN)/pip install -q -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf $(VENV) build demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
