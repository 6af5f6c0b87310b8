# The commands of smtpgate's users and developers. Each sets up what it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help venv run test restarts check format lint types docs protocol checklist contract faults cases fuzz properties hostile verdicts accuracy flood bench bench-limits bench-rules bench-content bench-held bench-admin bench-history bench-filters clean

help:
	@echo "make run       start a gateway on 127.0.0.1:2525 with a built-in sink behind it"
	@echo "make test      all tests"
	@echo "make check     format, lint, types, then all tests"
	@echo "make protocol  each wire case with its test and its result"
	@echo "make checklist  each item of the security checklist with its tests and their results"
	@echo "make contract  the running server against its API document: every operation, many times"
	@echo "make faults    each leg broken at each step, the gateway killed: what was heard"
	@echo "make cases     the session scripts and mails of ../shared/cases"
	@echo "make fuzz      random input to every parser and engine for ten minutes"
	@echo "make properties  property tests with inputs that are new each time"
	@echo "make flood     a flood of strangers, a backend that slows and dies, a filter that hangs"
	@echo "make restarts  restarts and reloads under steady load: nothing lost, twice or refused"
	@echo "make hostile   messages made to hurt, others' mail beside them"
	@echo "make verdicts  each mail of ../shared/cases against what its row asks for"
	@echo "make accuracy  how much spam and phishing is found, at how many false alarms"
	@echo "make bench     speed beside other gateways, where the bench is there"
	@echo "make bench-limits  cost of limits: many keys against few, and seven limits against none"
	@echo "make bench-rules  500 rules on a message; a message of 100 MB with rules about envelope and header"
	@echo "make bench-content  what a mail of 10 MB takes when it is searched, by kind"
	@echo "make bench-admin  mail while the admin side is flooded"
	@echo "make bench-held  lists of a million held messages"
	@echo "make bench-history  searches among a million messages, and what their index costs"
	@echo "make bench-filters  cost of the filters beside Haraka and rspamd under Postfix; as root"
	@echo "make docs      write the generated documents anew"

$(VENV)/.installed: requirements.lock setup.cfg
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --config-settings editable_mode=compat -e .
	touch $@

venv: $(VENV)/.installed

run: venv
	$(BIN)/twistd -n --pidfile= smtpgate --config etc/run.toml --sink tcp:2526:interface=127.0.0.1

test: venv
	$(BIN)/trial tests

check: format lint types test

format: venv
	$(BIN)/ruff format --check smtpgate tests

lint: venv
	$(BIN)/ruff check smtpgate tests

types: venv
	$(BIN)/mypy

docs: venv
	$(BIN)/python -m smtpgate.config.reference --docs
	$(BIN)/python -m smtpgate.config.reference --sample
	$(BIN)/python -m smtpgate.observe.names > docs/operation-events.md
	$(BIN)/python -m smtpgate.observe.reference > docs/metrics.md
	$(BIN)/python -m smtpgate.cli.reference > docs/filters.md
	$(BIN)/python -m smtpgate.cli.manual

protocol: venv
	$(BIN)/python -m tests.protocol_report

checklist: venv
	$(BIN)/python -m tests.security_report

contract: venv
	$(BIN)/python -m tests.contract

clean:
	rm -rf $(VENV) _trial_temp* build dist var

faults: venv
	SMTPGATE_TABLE=1 $(BIN)/trial --reporter=summary tests.test_faults tests.test_fanout

cases: venv
	SMTPGATE_TABLE=1 $(BIN)/trial --reporter=summary tests.test_cases

fuzz: venv
	$(BIN)/python -m tests.fuzz --seconds 600

properties: venv
	SMTPGATE_NEW_INPUTS=1 $(BIN)/trial --reporter=summary $$(grep -l '^from hypothesis' tests/test_*.py)

verdicts: venv
	$(BIN)/python -m tests.case_verdicts

accuracy: venv
	$(BIN)/python -m tests.accuracy
	$(BIN)/python -m tests.accuracy --numbers

flood: venv
	$(BIN)/python -m tests.flood

restarts: venv
	$(BIN)/python -m tests.restarts

hostile: venv
	$(BIN)/python -m tests.hostile

# Peers that are not set up on this machine make the run end with 1; name fewer: make bench PEERS=direct,haproxy
BENCH ?= ../shared/bench
PEERS ?= direct,haproxy,nginx,postfix-filter,exim,haraka-proxy
CASES ?= tput,lat,idle,big,tls
bench: venv
	@if [ -f $(BENCH)/run.py ]; then mkdir -p var && $(PYTHON) $(BENCH)/run.py --peers $(PEERS) \
		--target tests/bench/smtpgate.toml --cases $(CASES) --sessions 50 --json var/bench.json; \
	else echo "skipped: no $(BENCH)/run.py"; fi

bench-limits: venv
	$(BIN)/python -m tests.bench.keys
	@if [ -f $(BENCH)/run.py ]; then mkdir -p var && $(PYTHON) $(BENCH)/run.py --peers none \
		--target tests/bench/smtpgate.toml --target tests/bench/limits.toml --cases tput --sessions 50 \
		--repeats 5 --seconds 1 --json var/bench-limits.json; \
	else echo "skipped: no $(BENCH)/run.py"; fi

bench-rules: venv
	$(BIN)/python -m tests.bench.rules
	@if [ -f $(BENCH)/run.py ]; then mkdir -p var && $(PYTHON) $(BENCH)/run.py --peers none \
		--target tests/bench/smtpgate.toml --target tests/bench/rules.toml --cases big,tput --sessions 50 \
		--json var/bench-rules.json; \
	else echo "skipped: no $(BENCH)/run.py"; fi

bench-content: venv
	$(BIN)/python -m tests.bench.content

bench-admin: venv
	$(BIN)/python -m tests.bench.admin_flood

bench-held: venv
	$(BIN)/python -m tests.bench.held

bench-history: venv
	$(BIN)/python -m tests.bench.history

# Haraka is looked for in $(HARAKA); what it needs there is said where it is missing.
HARAKA ?= var/haraka
FILTER_PEERS ?= smtpgate,haraka,rspamd
bench-filters: venv
	$(BIN)/python -m tests.bench.filters --peers $(FILTER_PEERS) --haraka $(HARAKA)
