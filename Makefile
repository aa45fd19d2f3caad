# The short names. `make demo` and `make test` need nothing before them.

PYTHON ?= python3
OUT ?= out
BIN := .venv/bin
SAMPLE := $(OUT)/sample/products.jsonl

# uv reads its own names of what pip may have been told: a folder of wheels, a mirror
comma := ,
empty :=
space := $(empty) $(empty)
ifneq ($(PIP_FIND_LINKS),)
export UV_FIND_LINKS ?= $(subst $(space),$(comma),$(strip $(PIP_FIND_LINKS)))
else
# Without a GPU, PyTorch's CPU build: 3 GB less to load
export UV_TORCH_BACKEND ?= auto
endif
ifneq ($(PIP_INDEX_URL),)
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif

.PHONY: help install demo ports serve stop frontier bench bench-index bench-roofline bench-profiles bench-shelf sweep \
    soak changes loadtest curves plan bench-gateway fuzz security engines rtx test test-all check format lint types lock clean
.DEFAULT_GOAL := demo

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s%s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo 'FLAGS hands further flags to a measuring program: make bench FLAGS=--quick. Each has --help.'

install: .venv/installed ## the environment alone

demo: ports $(OUT)/release ## from nothing to searches on a real Triton
	@$(BIN)/python -m deploy.embedded up --repository $(OUT)/releases/current
	@trap '$(BIN)/python -m deploy.embedded down' EXIT; $(BIN)/python -m clients.demo

serve: ports $(OUT)/release ## the same server, left running
	@$(BIN)/python -m deploy.embedded up --repository $(OUT)/releases/current
	@echo 'Try:  $(BIN)/python -m clients.search "waterproof hiking boots" -k 5      Stop it:  make stop'

frontier: .venv/installed $(SAMPLE) ## what compression costs in nDCG@10 and gains in speed, candidate by candidate
	@$(BIN)/python -m build.frontier --catalogue $(SAMPLE) --judgments $(OUT)/sample/judgments.tsv --out $(OUT) \
	    --preset quick --results $(OUT)/frontier

# Of the sample; CATALOGUE, JUDGMENTS and OUT measure another build, FLAGS are the program's own
CATALOGUE ?= $(SAMPLE)
JUDGMENTS ?= $(OUT)/sample/judgments.tsv
MEASURED = --release $(OUT)/releases/current --catalogue $(CATALOGUE) --judgments $(JUDGMENTS)
$(OUT)/releases/current:
	@test '$(CATALOGUE)' = '$(SAMPLE)' || { echo 'error: $@ does not exist; build it of your own catalogue first:' \
	    '$(BIN)/python -m build --catalogue $(CATALOGUE) --judgments $(JUDGMENTS) --out $(OUT)' >&2; exit 1; }
	@$(MAKE) --no-print-directory $(OUT)/release

bench: .venv/installed $(OUT)/releases/current ## beside Infinity, sentence-transformers and LitServe: searches/s, p99, nDCG@10
	@$(BIN)/python -m loadtests.bench $(MEASURED) --out $(OUT)/bench --warm $(FLAGS)

# TEXTS=FILE takes products from there instead of the shop's own
bench-index: .venv/installed $(OUT)/releases/current ## what search costs as the catalogue grows
	@$(BIN)/python -m loadtests.lab.bench_index --release $(OUT)/releases/current --texts $(or $(TEXTS),$(CATALOGUE)) \
	    --out $(OUT)/bench_index $(FLAGS)

bench-roofline: .venv/installed $(OUT)/releases/current ## how much of this machine a search uses, and where the rest goes
	@$(BIN)/python -m loadtests.lab.roofline $(MEASURED) --out $(OUT)/roofline --profile $(FLAGS)

sweep: .venv/installed $(OUT)/releases/current ## which settings of the server are best on this machine
	@$(BIN)/python -m loadtests.lab.sweep $(MEASURED) --out $(OUT)/sweep $(FLAGS)

soak: .venv/installed $(OUT)/releases/current ## whether memory stays flat over 100,000 searches
	@$(BIN)/python -m loadtests.soak $(MEASURED) --out $(OUT)/soak $(FLAGS)

changes: .venv/installed $(OUT)/releases/current ## what it costs to change products while they are searched
	@$(BIN)/python -m loadtests.lab.changes --release $(OUT)/releases/current --catalogue $(CATALOGUE) \
	    --out $(OUT)/changes $(FLAGS)

bench-profiles: .venv/installed ## what a look at a shopper's profile costs, in SQLite and in Redis
	@$(BIN)/python -m loadtests.lab.profiles --out $(OUT)/bench_profiles $(FLAGS)

INTERACTIONS ?= $(OUT)/sample/interactions.jsonl
bench-shelf: .venv/installed $(OUT)/releases/current ## shelves and personal searches beside searches; how soon an event shows
	@$(BIN)/python -m loadtests.lab.shelf $(MEASURED) --interactions $(INTERACTIONS) --out $(OUT)/bench_shelf $(FLAGS)

TOPOLOGY ?= deploy/topologies/loadtest.toml
SHOP = --catalogue $(CATALOGUE) --judgments $(JUDGMENTS) --interactions $(INTERACTIONS)
loadtest: .venv/installed $(OUT)/releases/current ## private, public and hybrid through steady load, a flash sale, a site's death
	@$(BIN)/python -m loadtests.hybrid matrix --topology $(TOPOLOGY) $(SHOP) --slo p99=150ms \
	    --out $(OUT)/loadtest/matrix $(FLAGS)

curves: .venv/installed $(OUT)/releases/current ## latency over load of each site for the plan, and how well it predicts
	@$(BIN)/python -m loadtests.hybrid curves --topology $(TOPOLOGY) $(SHOP) --out $(OUT)/loadtest/curves $(FLAGS)
	@$(BIN)/python -m loadtests.plan.check --curves $(OUT)/loadtest/curves/curves.json --out $(OUT)/loadtest/check \
	    $(OUT)/loadtest/curves/run_*

DEMAND ?= loadtests/plan/example/demand.csv
PRICES ?= loadtests/plan/example/prices.toml
SLO ?= p99=100ms
$(OUT)/loadtest/curves/curves.json:
	@$(MAKE) --no-print-directory curves
plan: .venv/installed $(OUT)/loadtest/curves/curves.json ## instances by hour and site that keep SLO at the least cost
	@$(BIN)/python -m loadtests.plan --demand $(DEMAND) --prices $(PRICES) --curves $(OUT)/loadtest/curves/curves.json \
	    --slo $(SLO) --out $(OUT)/plan $(FLAGS)

bench-gateway: .venv/installed $(OUT)/releases/current ## what the gateway adds to a search
	@$(BIN)/python -m loadtests.gateway --topology $(TOPOLOGY) --catalogue $(CATALOGUE) --judgments $(JUDGMENTS) \
	    --out $(OUT)/bench_gateway $(FLAGS)

fuzz: .venv/installed $(OUT)/releases/current ## 10,000 hostile requests at two sites, while others search
	@$(BIN)/python -m loadtests.fuzz --topology $(TOPOLOGY) --catalogue $(CATALOGUE) --judgments $(JUDGMENTS) \
	    --out $(OUT)/fuzz $(FLAGS)

security: .venv/installed ## secrets in the sources, known holes in the dependencies
	@git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --baseline deploy/security/secrets.baseline
	@$(BIN)/uv tool run --quiet pip-audit --strict --no-deps --disable-pip -r requirements.lock

PRECISION ?= int8
# What the current release was built from; ENGINE_JUDGMENTS= with ENGINE_FLAGS=--unjudged measures no nDCG
ENGINE_CATALOGUE ?= $(SAMPLE)
ENGINE_JUDGMENTS ?= $(OUT)/sample/judgments.tsv
engines: ## on a GPU host with Docker: TensorRT engines for the current release, proved, then published
	@test -e $(OUT)/releases/current || \
	    { echo 'error: $(OUT)/releases/current does not exist; build a release first: make demo, or python -m build' >&2; exit 1; }
	@for file in $(if $(ENGINE_JUDGMENTS),$(ENGINE_CATALOGUE) $(ENGINE_JUDGMENTS)); do test -f $$file || \
	    { echo "error: $$file does not exist; give ENGINE_CATALOGUE and ENGINE_JUDGMENTS" >&2; exit 1; }; done
	@USER_ID=$$(id -u) GROUP_ID=$$(id -g) SHELFBRIDGE_OUT=$(abspath $(OUT)) \
	    docker compose -f deploy/containers/compose.yaml run --build --rm $(if $(ENGINE_JUDGMENTS), \
	    -v $(abspath $(ENGINE_CATALOGUE)):/catalogue/$(notdir $(ENGINE_CATALOGUE)):ro \
	    -v $(abspath $(ENGINE_JUDGMENTS)):/judgments/$(notdir $(ENGINE_JUDGMENTS)):ro) engines \
	    --release out/releases/current --precision $(PRECISION) --out out/engine_report $(if $(ENGINE_JUDGMENTS), \
	    --catalogue /catalogue/$(notdir $(ENGINE_CATALOGUE)) --judgments /judgments/$(notdir $(ENGINE_JUDGMENTS))) \
	    $(ENGINE_FLAGS)

# NVIDIA's own parser and builder, which need no GPU. Proprietary, so never a dependency; --no-deps leaves CUDA out
RTX_VERSION ?= 1.7.1.116
rtx: .venv/installed ## TensorRT-RTX (proprietary licence): the build and the tests then ask NVIDIA's parser too
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps \
	    tensorrt-rtx-cu13-libs==$(RTX_VERSION) tensorrt-rtx-cu13-bindings==$(RTX_VERSION)

# Before the long work, not after it
ports:
	@$(PYTHON) -m deploy.prerequisites --ports

stop:
	@$(BIN)/python -m deploy.embedded down

test: .venv/installed ## every test but the slow ones, in two processes
	@OMP_NUM_THREADS=1 .ci/tests -n 2 --dist loadscope

test-all: .venv/installed
	@.ci/tests -m ""

check: .venv/installed ## what CI runs
	@.ci/run

format lint types: .venv/installed
	@.ci/$@

lock: .venv/installed ## resolve the dependencies again
	@$(BIN)/uv pip compile -q pyproject.toml --extra dev --upgrade --no-annotate --no-header -o requirements.lock
	@sed -i 's/+cpu$$//' requirements.lock

clean:
	rm -rf .venv $(OUT)

# The build looks for itself at what is unchanged, so this rule is not a file
.PHONY: $(OUT)/release
$(OUT)/release: .venv/installed $(SAMPLE)
	@$(BIN)/python -m build --catalogue $(SAMPLE) --judgments $(OUT)/sample/judgments.tsv \
	    --interactions $(OUT)/sample/interactions.jsonl --out $(OUT) --preset quick

$(SAMPLE): .venv/installed $(shell find build/sample -type f -not -name '*.pyc')
	@$(BIN)/python -m build.sample --out $(OUT)/sample

# The project itself is installed as it lies here, so that its programs run from any folder
.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -m deploy.prerequisites
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements.lock)"
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet -r requirements.lock
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
