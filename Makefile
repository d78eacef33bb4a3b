# Soundcheck. The two commands: `make release` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1
INSTANTS ?= 100
ROUNDS ?= 200
MINUTES ?= 30
FAMILY ?= asr-commands

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

install: .venv/.installed  ## build .venv from the lock (needs Python 3.11 and pip only)

.venv/.installed: requirements.lock pyproject.toml scripts/install.sh
	bash scripts/install.sh
	touch $@

lock:  ## make requirements.lock from pyproject.toml again
	bash scripts/lock.sh

train: install  ## corpus, training and candidates, by DVC
	dvc repro --quiet

packs: install  ## every eval pack beside `commands`, by DVC (recorded speech comes from Debian packages)
	dvc repro --quiet evalpacks/packs/dvc.yaml

push: install  ## send training data, packs and candidates to the store (DVC, docs/data.md)
	soundcheck data push

release: install  ## the whole story: train, release v1 and v2, stop v3, roll back and go forward (APPROVE=auto: unattended)
	python -m flows.demo --story $(FAMILY)$(if $(STORY),/$(STORY))

release-en: install  ## the same with real recordings: pocketsphinx, then moonshine
	python -m flows.demo --story asr-en

down:  ## stop every server that was started
	-soundcheck down

browser:  ## install Chromium for the browser tests
	bash scripts/browser.sh

postgres:  ## install PostgreSQL for the tests of MLflow's database (without it they are skipped, and say so)
	-bash scripts/postgres.sh

promtool:  ## get promtool for the test of the alert rules (without it that is skipped, and says so)
	-bash scripts/promtool.sh

lint: install  ## style, types, import contracts, lock, secrets
	ruff check --no-cache .
	ruff format --check .
	mypy
	lint-imports
	python scripts/check_repository.py

test: lint browser postgres promtool train  ## everything that must hold, in at most 15 minutes on 2 cores
	pytest -n 2 --dist loadfile --ignore tests/crash --ignore tests/drills --ignore tests/flows/test_release_s3.py

test-crash: install train  ## releases killed everywhere and on a bucket, bits flipped, races (INSTANTS=100 ROUNDS=200 MINUTES=30)
	CRASH_INSTANTS=$(INSTANTS) CRASH_ROUNDS=$(ROUNDS) CRASH_MINUTES=$(MINUTES) \
	  pytest tests/crash tests/flows/test_release_s3.py

drills: install train  ## inject faults into a running system, each must end in the right action (docs/drills.md)
	pytest tests/drills

bench: install  ## measure speed and error rates; figures to stdout (BENCH="--json": one object a line)
	@python -m benchmarks $(BENCH)

image-check:  ## the steps of the Containerfile, in a clean root, without a container engine
	bash scripts/check_image.sh

clean: down  ## remove what was made (the environment and the trained candidates stay)
	rm -rf .soundcheck .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: help install lock train packs push release release-en down browser postgres promtool lint test test-crash drills bench image-check clean
