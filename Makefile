# `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# TORCH=system keeps the torch that PYTHON already has, as on Colab: the environment sees the packages
# below it, and only what they lack is installed, into .venv alone. The lock is complete, so --no-deps
# leaves nothing out and keeps pip from fetching another torch; torchao is not used here, but peft stops
# at the older one that Colab brings.
TORCH ?= pinned
ifeq ($(TORCH),system)
# Colab's Python has no ensurepip; its pip can install into another environment.
VENV_OPTIONS := --system-site-packages --without-pip
PIP := $(PYTHON) -m pip --python $(BIN)/python
CREATED := $(BIN)/python
else
PIP := $(BIN)/python -m pip
CREATED := $(BIN)/pip
endif
PIP += --disable-pip-version-check --quiet
# The resolver that `make lock` installs for itself.
UV := 0.13.8
# PROFILE=quick runs the values of profiles/quick, with data, lock and reports of its own there.
PROFILE ?=
FOLDER := $(if $(PROFILE),profiles/$(PROFILE),.)
IN_FOLDER := cd $(FOLDER)
# The kernel and DVC's commands find this environment's programs first, and no other copy's code.
export PATH := $(CURDIR)/$(BIN):$(PATH)
unexport PYTHONPATH MPLBACKEND
# Named from where make runs, read in a profile's folder or a study's; the name may hold spaces.
ifneq ($(filter-out /% ~%,$(firstword $(DUALREC_DATA))),)
override export DUALREC_DATA := $(CURDIR)/$(value DUALREC_DATA)
endif

.DEFAULT_GOAL := help
.PHONY: help profile setup repro colab address serve test pipeline lint strip lab report bench verify nir search peers loo questions seeds order ratings knowledge domains shards variants latency load lock site clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED)  ## create .venv and install the pinned requirements (repro and test do it too)

$(INSTALLED): requirements-torch.txt requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "dualrec: setup: $(PYTHON) is $$($(PYTHON) --version 2>&1); Python 3.11 or newer is needed," \
	    "name one with: make repro PYTHON=python3.12" >&2; exit 2; }
	@test -x $(CREATED) || { echo "setup: creating $(VENV)"; $(PYTHON) -m venv $(VENV_OPTIONS) $(VENV); }
ifeq ($(TORCH),system)
	@$(BIN)/python -c 'import torch; print("setup: using torch", torch.__version__)'
	@echo "setup: installing what is missing; two to four minutes"
	@$(PIP) install --no-deps -r requirements.txt torchao==0.17.0
else
	@echo "setup: installing torch (1/2); the largest download, a few minutes"
	@$(PIP) install -r requirements-torch.txt -c requirements.txt
	@echo "setup: installing everything else (2/2); two to four minutes"
	@$(PIP) install -r requirements.txt -c requirements-torch.txt
endif
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "setup: done"

profile:
	@test -f $(FOLDER)/params.yaml || { echo "dualrec: there is no profile $(PROFILE); profiles:" \
	  "$(patsubst profiles/%/params.yaml,%,$(wildcard profiles/*/params.yaml))" >&2; exit 2; }

repro: profile $(INSTALLED)  ## run the whole study (only what changed), print its results; PROFILE=quick: that profile
	@$(IN_FOLDER) && dualrec params
	@$(IN_FOLDER) && dvc repro
	@$(IN_FOLDER) && dualrec results

colab: profile $(INSTALLED)  ## say whether this rented machine can run a profile for a GPU, and about how long; PROFILE as above
	@$(IN_FOLDER) && dualrec colab

serve: profile $(INSTALLED)  ## open what was trained: page and API on this machine; after repro; PROFILE as above
	@$(IN_FOLDER) && dualrec serve

test: $(INSTALLED)  ## run the tests, offline
	@HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 python -m pytest --numprocesses 2 --dist worksteal

pipeline: $(INSTALLED)  ## run the whole pipeline offline on a generated data set, as CI does (5 min)
	@HF_HUB_OFFLINE=1 python -m pytest tests/pipeline

lint: $(INSTALLED)  ## check style, types, who imports whom, and that notebooks are committed without outputs
	@ruff check .
	@ruff format --check .
	@lint-imports --no-logo
	@mypy
	@$(STRIP) --verify notebooks/*.ipynb || { echo "lint: strip them: make strip" >&2; exit 1; }

# JupyterLab adds the kernel's version and the like to a notebook: they would make its stage run again.
JUPYTERLAB_KEYS := $(addprefix metadata.language_info.,\
  codemirror_mode file_extension mimetype nbconvert_exporter pygments_lexer version)
STRIP := nbstripout --keep-id --extra-keys "$(JUPYTERLAB_KEYS)"
strip: $(INSTALLED)  ## strip notebooks of outputs, back to the committed bytes where nothing else changed
	@$(STRIP) notebooks/*.ipynb

lab: profile $(INSTALLED)  ## open the notebooks in JupyterLab; PROFILE as above
	@$(IN_FOLDER) && jupyter lab notebooks

report: profile $(INSTALLED)  ## write the report anew, with what other profiles found, and say where it lies; PROFILE as above
	@$(IN_FOLDER) && dvc repro --force --single-item report
	@$(IN_FOLDER) && dualrec results

bench: $(INSTALLED)  ## measure how fast and how well the LSTM trains, two ways (15 min)
	@dualrec bench

verify: $(INSTALLED)  ## run everything again in a scratch copy and compare with the committed metrics
	@dualrec verify

search: $(INSTALLED)  ## search the models' settings on validation users; after repro, some hours; goes on where it stopped
	@cd dualrec_utils/studies/search && dvc repro

nir: $(INSTALLED)  ## reproduce NIR (GPT-3's recorded answers, yardsticks, a local model); after repro, 2 min
	@cd dualrec_utils/studies/nir && dvc repro

# RecBole and Surprise need older libraries, so each has an environment of its own, and a Python they have
# wheels for.
PEERS := dualrec_utils/studies/peers
PEERS_VENV := .venv-peers
SURPRISE_VENV := .venv-surprise
PEERS_PYTHON ?= python3.11
CHECK_PEERS_PYTHON = $(PEERS_PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' \
  2>/dev/null || { echo "dualrec: peers: RecBole and Surprise need Python 3.11 or 3.12, and $(PEERS_PYTHON) is" \
  "neither; name one with: make peers PEERS_PYTHON=python3.12" >&2; exit 2; }

$(PEERS_VENV)/.installed: $(PEERS)/requirements.txt $(PEERS)/requirements-recbole.txt
	@$(CHECK_PEERS_PYTHON)
	@echo "peers: creating $(PEERS_VENV); a few minutes"
	@$(PEERS_PYTHON) -m venv $(PEERS_VENV)
	@$(PEERS_VENV)/bin/python -m pip install --quiet -r $(PEERS)/requirements.txt
	@$(PEERS_VENV)/bin/python -m pip install --quiet --no-deps -r dualrec_utils/studies/peers/requirements-recbole.txt
	@touch $@

$(SURPRISE_VENV)/.installed: $(PEERS)/requirements-surprise.txt
	@$(CHECK_PEERS_PYTHON)
	@echo "peers: creating $(SURPRISE_VENV); a minute (without a wheel for this machine it needs a C compiler)"
	@$(PEERS_PYTHON) -m venv $(SURPRISE_VENV)
	@$(SURPRISE_VENV)/bin/python -m pip install --quiet -r $(PEERS)/requirements-surprise.txt
	@touch $@

peers: $(INSTALLED) $(PEERS_VENV)/.installed $(SURPRISE_VENV)/.installed  ## run models beside RecBole's and Surprise's on the same data; 80 min
	@cd dualrec_utils/studies/peers && dvc repro

loo: $(INSTALLED)  ## run baselines on the field's leave-one-out track, beside published figures; an hour
	@cd dualrec_utils/studies/leave_one_out && dvc repro

questions: $(INSTALLED)  ## answer questions the paper leaves open (notebook 09); after repro, an hour
	@cd dualrec_utils/studies/questions && dvc repro

seeds: profile $(INSTALLED)  ## run again from other seeds of order and training; after repro, 25 min a seed; PROFILE as above
	@$(IN_FOLDER) && dualrec study seeds

order: profile $(INSTALLED)  ## measure what the order of ratings of one second does; after repro, an hour or two; PROFILE as above
	@$(IN_FOLDER) && dualrec study order

ratings: profile $(INSTALLED)  ## fit rating models from more seeds, part by part and on less data; after repro, some hours; PROFILE as above
	@$(IN_FOLDER) && dualrec study ratings

knowledge: profile $(INSTALLED)  ## ask when pretraining helps (notebook 10); after repro, many hours, resumable; PROFILE as above
	@$(IN_FOLDER) && dualrec study knowledge

domains: $(INSTALLED)  ## set the runs on films, music, games and a shop side by side (notebook 13); after repro of these profiles, a minute
	@dualrec study domains

# Ray lies in an environment on top of .venv, which it sees: only what .venv lacks is installed into it.
SHARDS_VENV := .venv-shards
PURELIB := -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
MODEL ?= movielm
WORKERS ?= 1 2

$(SHARDS_VENV)/.installed: $(INSTALLED) dualrec_utils/studies/requirements-shards.txt
	@echo "shards: creating $(SHARDS_VENV); a minute"
	@$(BIN)/python -m venv $(VENV_OPTIONS) $(SHARDS_VENV)
	@echo "import site; site.addsitedir('$$($(BIN)/python $(PURELIB))')" \
	  > "$$($(SHARDS_VENV)/bin/python $(PURELIB))/below.pth"
	@$(subst $(VENV)/,$(SHARDS_VENV)/,$(PIP)) install --no-deps -r dualrec_utils/studies/requirements-shards.txt
	@touch $@

shards: profile $(SHARDS_VENV)/.installed  ## answer notebook 04's prompts by workers of Ray; after repro, two minutes; MODEL=movielm WORKERS="1 2" PROFILE as above
	@$(IN_FOLDER) && "$(CURDIR)/$(SHARDS_VENV)/bin/python" -m dualrec_utils study shards $(MODEL) $(WORKERS)

variants: $(INSTALLED)  ## prepare, train and measure the published sizes of ml-latest-small; three minutes
	@dualrec study variants

latency: $(INSTALLED)  ## measure how fast the service answers; after repro, three minutes
	@dualrec study latency

load: $(INSTALLED)  ## kill the service amid events 20 times, and ask it for ten minutes; after repro, a quarter of an hour
	@dualrec study load

# uv resolves for every platform and Python version at once, in an environment of its own. Versions
# already in requirements.txt are kept where requirements.in allows them. What torch alone pulls in
# (CUDA packages, triton) is left to requirements-torch.txt.
lock:  ## write requirements.txt from requirements.in
	@scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
	  $(PYTHON) -m venv $$scratch/uv && $$scratch/uv/bin/python -m pip install --quiet uv==$(UV) && \
	  cp requirements.txt $$scratch/requirements.txt && \
	  $$scratch/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
	    -o $$scratch/requirements.txt requirements.in -c requirements-torch.txt && \
	  { echo "# Every package at its version, written by \`make lock\` from requirements.in: do not edit."; \
	    grep -vE '^(torch|triton|nvidia-|cuda-|#)' $$scratch/requirements.txt; } > $$scratch/lock && \
	  cp $$scratch/lock requirements.txt
	@echo "lock: requirements.txt has $$(grep -c == requirements.txt) packages"

site: $(INSTALLED)  ## write report, executed notebooks and docs as a web site into site/; a minute, no network
	@dualrec site

# pyproject.toml has it; README and the Colab notebook, read before anything is fetched, repeat it.
PLACES := README.md notebooks/colab.ipynb pyproject.toml
address:  ## write where your copy lies on GitHub into README, Colab notebook and pyproject.toml; TO=you/name
	@echo '$(TO)' | grep -qE '^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$$' || { \
	  echo "dualrec: address: name the repository: make address TO=you/name" >&2; exit 2; }
	@old=$$(sed -n 's|^Repository = "https://github.com/\(.*\)"$$|\1|p' pyproject.toml) && \
	  sed -i.old "s|$$old|$(TO)|g" $(PLACES) && rm -f $(PLACES:=.old) && echo "address: https://github.com/$(TO)"

clean:  ## remove .venv and what the default run leaves under data/; keep fetched data and reports
	@rm -rf $(VENV) data/.state data/by_hand data/ml-100k reports/notebooks/*.html site
	@echo "clean: removed .venv and what the default run leaves under data/; kept data/raw (fetched once),"
	@echo "       data/answers (paid for), data/questions and data/peers (of \`make questions\` and \`make peers\`),"
	@echo "       DVC's cache (so that \`dvc repro\` restores in seconds; rm -rf .dvc/cache to recompute), reports/"
