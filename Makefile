# make demo: boots one diskless PC with network swap and proves its memory.  make test: all tests.
.PHONY: help setup demo test test-deploy unit torture bench-pages

LOGS := lab-logs
SUDO := $(if $(filter 0,$(shell id -u)),,sudo -p 'netboot: your password, to make virtual networks: ')
# kmod's modinfo and depmod are not on every user's path.
PYTEST := env PATH="$(PATH):/usr/sbin:/sbin" .venv/bin/python -m pytest

help:
	@printf '%s\n' 'make demo    boot a diskless PC of 256 MB in QEMU and load it with twice its RAM' \
	    'make test    all tests (about fifteen minutes)' \
		    'make unit    only what needs no root and starts no program' \
	    'make test-deploy  only fab and the doctor, against real sshd (a minute)' \
	    'make torture  every fault of docs/reliability.md, at three sizes of RAM (an hour)' \
	    'make setup   only install what all need' \
	    'make bench-pages  our page server beside its peers (20 minutes; BENCH=--quick: 2)'

setup:
	@tools/setup

demo: setup
	@$(SUDO) .venv/bin/netboot lab --profile profiles/lab.yaml --clients 1 --memory 256 \
	    --load 2 --timeout 900 --logs $(LOGS)

# As root one run; as another user what needs root goes first, while sudo still remembers.
test: setup
ifeq ($(SUDO),)
	$(PYTEST)
else
	$(SUDO) $(PYTEST) -p no:cacheprovider -m 'root or vm'
	$(PYTEST) -m 'not root and not vm'
endif

unit: setup
	$(PYTEST) -q -m 'not root and not vm and not system'

test-deploy: setup
	$(SUDO) $(PYTEST) -p no:cacheprovider tests/deploy

# Three seeds; what a run prints as its seed repeats it: TORTURE='--seed 4711'. Fails if a bar is missed.
torture: setup
	@$(SUDO) .venv/bin/netboot build --profile profiles/lab.yaml --output $(LOGS)/images >/dev/null
	@for memory in 192 160 120; do \
	    $(SUDO) .venv/bin/python -m tests.vm.torture --long --table --memory $$memory \
	        --images $(LOGS)/images --logs $(LOGS)/$$memory $(TORTURE) || exit; \
	done
	@$(SUDO) .venv/bin/python -m tests.vm.torture --loss --images $(LOGS)/images --logs $(LOGS)/loss \
	    --set swap.patience=12s $(TORTURE)

# Fails if a bar is missed. Root: the veth rows need network namespaces.
bench-pages: setup
	@tools/setup-bench
	$(SUDO) .venv/bin/python -m bench.pages $(BENCH)
