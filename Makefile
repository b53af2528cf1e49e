# make demo: boots one diskless PC with network swap and proves its memory.  make test: all tests.
.PHONY: help setup setup-vagrant setup-develop setup-test setup-nightly remove demo demo-screen pictures test nightly nightly-screens nightly-long \
    fuzz test-deploy test-panel unit check lint fix coverage docs lock deb clean \
    torture torture-192 torture-128 torture-96 torture-loss torture-mirror torture-cells room attack \
    bench-pages bench-client bench-boot bench-screen bench-panel bench-scale bench-compare nbd-attach

LOGS := lab-logs
SUDO := $(if $(filter 0,$(shell id -u)),,sudo -p 'netboot: your password, to make virtual networks: ')
# kmod's modinfo and depmod are not on every user's path.
PYTEST := env PATH="$(PATH):/usr/sbin:/sbin" .venv/bin/python -m pytest
UNIT := -m 'not root and not vm and not system'

help:
	@printf '%s\n' \
	    'make demo          boot a diskless PC of 256 MB in QEMU and load it with twice its RAM' \
	    'make demo-screen   boot one that shows a browser, and take a picture (the first time: 15 minutes)' \
	    '' \
	    'make setup         install what make demo, netboot and fab need (the first time: two minutes)' \
	    'make setup-vagrant the same for vagrant up; the targets below install what they need' \
	    'make remove        take away all that these targets installed; apt asks before' \
	    '' \
	    'make unit          tests that need no root and start no program' \
	    'make lint          ruff, mypy, shellcheck, codespell, import-linter' \
	    'make fix           let ruff fix mistakes and format' \
	    'make check         make lint and make unit: before each commit' \
	    'make test          all tests but the nightly ones (35 minutes)' \
	    'make nightly       PCs with disks, several servers, Ceph, versions of root images (15 minutes); CI runs it too' \
	    'make nightly-screens  PCs with a screen: logins, homes, thin clients, sticks, old PCs (25 minutes)' \
	    'make nightly-long  further seeds; setup, demo, unit and the packages on fresh Debian 12 and 13 (60 minutes)' \
	    'make fuzz          the parsers of what strangers say, FUZZ_SECONDS=30 each (four minutes)' \
	    'make test-deploy   only fab and the doctor: real sshd, PCs with disks (six minutes)' \
	    'make test-panel    only the page of the room: browser, databases, Prometheus (four minutes)' \
	    'make deb           Debian packages for 12 and 13, in dist/ (four minutes; RELEASES=trixie: one)' \
	    'make coverage      branch coverage of make unit; pages in build/coverage/html' \
	    'make pictures      take the pictures of docs/tutorial again, with virtual PCs (10 minutes)' \
	    'make docs          build the documents into build/docs; a dead link is an error' \
	    '' \
	    'make torture       every fault of docs/measurements/reliability.md, at three sizes of RAM (45 minutes)' \
	    'make room          24 PCs at once against one server, a part of make torture (8 minutes)' \
	    'make attack        all attacks of docs/security.md at once while a room works (6 minutes)' \
	    'make bench-pages   our page server beside its peers (25 minutes; BENCH=--quick: 6)' \
	    'make bench-compare A=commit B=commit: the rows of bench-pages that have changed between them' \
	    'make bench-client  a PC with swap here and there (30 minutes; BENCH=--quick: 15)' \
	    'make bench-boot    boots and what serves them beside their peers (26 minutes; BENCH=--quick: 8)' \
	    'make bench-screen  PCs until their page is shown, and what they read (BENCH=--quick: three rows)' \
	    'make bench-panel   1,000 seats and 20 browsers at the page of the room (10 minutes; BENCH=--quick: 4)' \
	    'make bench-scale   1,000 seats, several servers and Ceph (BENCH=--quick: each once)' \
	    '' \
	    'make nbd-attach    the swap agent as a program and a Debian package of its own (build/nbd-attach)' \
	    'make lock          write the lock files for what pyproject.toml asks for (tools/lock)' \
	    'make clean         remove built files; .venv, lab-logs and bench-results stay'

# Sets of packages: tools/setup.
setup:
	@tools/setup demo

setup-vagrant:
	@tools/setup demo vagrant

setup-develop:
	@tools/setup demo develop

setup-test:
	@tools/setup demo develop vagrant test

setup-nightly:
	@tools/setup demo develop vagrant test ceph

remove:
	@tools/setup --remove

demo: setup
	@$(SUDO) .venv/bin/netboot lab --profile profiles/lab.yaml --clients 1 --memory 256 \
	    --load 2 --timeout 900 --logs $(LOGS) --panel
	@echo 'a PC that shows a browser: make demo-screen'

# A build with nothing new takes a second.
demo-screen: setup
	@mkdir -p $(LOGS)
	@$(SUDO) .venv/bin/netboot image build kiosk
	@$(SUDO) .venv/bin/netboot lab --profile profiles/lab.yaml --image kiosk --memory 256 \
	    --timeout 900 --logs $(LOGS) --screenshot $(LOGS)/screen.png

# Two processes: virtual PCs, and other tests beside them (tests/conftest.py, docs/contributing/tests.md).
TWO := -n 2

# As root one run; as another user what needs root goes first, while sudo still remembers.
test: setup-test
ifeq ($(SUDO),)
	$(PYTEST) $(TWO) -m 'not nightly'
else
	$(SUDO) $(PYTEST) $(TWO) -p no:cacheprovider -m '(root or vm) and not nightly'
	$(PYTEST) $(TWO) -m 'not root and not vm'
endif

# What takes minutes and seldom breaks alone: CI runs it too.
nightly: setup-nightly
	$(SUDO) $(PYTEST) $(TWO) -p no:cacheprovider -m 'nightly and not screens and not long'

# PCs that show something, in more ways than make test has. CI runs it while there is time.
nightly-screens: setup-test
	$(SUDO) $(PYTEST) -p no:cacheprovider -m screens

# Further seeds, and each release in a chroot of its own, as its user meets it. Not in CI. RELEASES: some of them.
nightly-long: setup-nightly
	@tools/setup deb container
	$(SUDO) $(PYTEST) -p no:cacheprovider -m long
	@$(SUDO) .venv/bin/python -m tests.debian --logs $(LOGS)/debian $(RELEASES)

# As many parsers at a time as there are CPUs. FUZZ: the names of some, or --keep (tests/fuzz/run.py).
FUZZ_SECONDS := 30

fuzz:
	@tools/setup demo develop fuzz
	.venv/bin/python -m tests.fuzz.run --seconds $(FUZZ_SECONDS) $(FUZZ)

unit: setup-develop
	$(PYTEST) -q $(UNIT)

# The linters are tests, so make test runs them too.
lint: setup-develop
	$(PYTEST) -q tests/test_linters.py tests/test_architecture.py

fix: setup-develop
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

check: lint unit

coverage: setup-develop
	@mkdir -p build/coverage
	env PATH="$(PATH):/usr/sbin:/sbin" .venv/bin/coverage run -m pytest -q $(UNIT)
	.venv/bin/coverage html --quiet
	.venv/bin/coverage report

nbd-attach: setup
	@.venv/bin/python -m tools.nbd_attach

docs: setup-develop
	.venv/bin/mkdocs build --strict

# Look at each picture before you commit it.
pictures: setup
	@$(SUDO) .venv/bin/netboot image build kiosk
	@$(SUDO) .venv/bin/netboot image build desktop
	@$(SUDO) .venv/bin/python -m tools.pictures

lock:
	tools/lock

# Each in a fresh system of its release, which needs root. RELEASES: some of them.
deb:
	@tools/setup deb
	@$(SUDO) .venv/bin/python -m tools.deb $(RELEASES)

# build/fab belongs to root if fab ran as root: then sudo make clean.
clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name .venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

test-deploy: setup-test
	$(SUDO) $(PYTEST) -p no:cacheprovider tests/deploy

# What make test has of the panel, its commands and its feed. A browser waits for much of its time.
test-panel: setup-test
	$(SUDO) $(PYTEST) -n 3 -p no:cacheprovider tests/panel tests/feed tests/serve/feed \
	    tests/cli/test_panel.py tests/cli/test_panel_user.py tests/cli/test_panel_child.py \
	    tests/cli/test_feeds.py tests/cli/test_ordering.py tests/cli/test_status_table.py tests/cli/test_top.py \
	    tests/vm/test_panel.py

# Three seeds; what a run prints as its seed repeats it: TORTURE='--seed 4711'. Fails if a bar is
# missed. Two at a time: an emulated PC keeps one CPU busy.
torture: setup-test
	@$(SUDO) .venv/bin/netboot build --profile profiles/lab.yaml --output $(LOGS)/images >/dev/null
	@$(MAKE) --no-print-directory --jobs 2 --output-sync torture-192 torture-128 torture-96 \
	    torture-loss torture-mirror torture-cells
	@$(MAKE) --no-print-directory room

ONE_TORTURE = @$(SUDO) .venv/bin/python -m tests.vm.torture --table --images $(LOGS)/images \
    --logs $(LOGS)/$@ $(TORTURE)

torture-192 torture-128 torture-96:
	$(ONE_TORTURE) --long --memory $(@:torture-%=%)

torture-loss:
	$(ONE_TORTURE) --loss --set swap.patience=12s

torture-mirror:
	$(ONE_TORTURE) --mirror --long --memory 128

torture-cells:
	$(ONE_TORTURE) --cells --memory 128

# Fails if a PC does not come through, or is served badly.
room: setup-test
	@$(SUDO) .venv/bin/netboot build --profile profiles/lab.yaml --output $(LOGS)/images >/dev/null
	@$(SUDO) .venv/bin/python -m tests.vm.room --table --images $(LOGS)/images --logs $(LOGS)/room

# Fails if a bar is missed, or if an attack succeeds. Root: each machine is a network namespace.
attack: setup-test
	@$(SUDO) .venv/bin/python -m tests.attack.load --logs $(LOGS)/attack

# Fails if a bar is missed. Root: the veth rows need network namespaces.
bench-pages:
	@tools/setup-bench
	$(SUDO) .venv/bin/python -m bench.pages $(BENCH)

# Both commits must have been measured here (bench-results/history).
bench-compare:
	@.venv/bin/python -m bench.compare "$(A)" "$(B)"

# Fails if a bar is missed. Root: virtual PCs and their network.
bench-client:
	@tools/setup-bench
	$(SUDO) .venv/bin/python -m bench.client $(BENCH)

# The same for what a PC fetches while it boots.
bench-boot:
	@tools/setup-bench
	@status=0; for part in boot dhcp start storm seat; do \
	    $(SUDO) .venv/bin/python -m bench.$$part $(BENCH) || status=1; \
	done; exit $$status

# PCs with a screen, without and with swap, and their peer. It builds root images that are missing.
bench-screen:
	@tools/setup-bench
	$(SUDO) .venv/bin/python -m bench.screen $(BENCH)

# A server with 1,000 played seats, 20 browsers' streams, a real browser, a month in SQLite.
bench-panel: setup-test
	$(SUDO) .venv/bin/python -m bench.panel $(BENCH)

# 1,000 seats and PCs on one server, disks, four servers, a Ceph cluster, and the model of them all.
bench-scale:
	@tools/setup-bench
	@tools/setup ceph
	@status=0; for part in seats storm disk cells ceph held; do \
	    $(SUDO) .venv/bin/python -m bench.scale.$$part $(BENCH) || status=1; \
	done; exit $$status
