# Every target works on Debian 12 or 13 as root with nothing but `make` installed: the first
# step, tests/lab/setup, installs what is missing. What the targets do is in tests/run.
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"$$/\1/p' pve_ospf/__init__.py)
DEB := dist/pve-ospf_$(VERSION)_all.deb
PARTS := $(shell find LICENSE bin debian hooks pve_ospf pyproject.toml setup.py \
	-type f -not -path '*/__pycache__/*')

.PHONY: help test demo lint unit system package bench soak deb tools clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 18

test: ## linters, unit tests, system tests in the lab, the package in booted Debians
	@tests/run all

demo: ## the main job in the lab, shown step by step
	@tests/run demo

lint: ## ruff, mypy and shellcheck over the source, lintian over the package
	@tests/run lint

unit: ## the pure modules; a few seconds
	@tests/run unit

system: ## the product in the lab, on real FRR and real containers
	@tests/run system

package: ## the package installed, upgraded and removed in a whole Debian 12 and 13
	@tests/run package

bench: ## figures: start of a container to the kernel of a router two hops away
	@tests/run bench

soak: ## the long tests at their full count; an hour (some: tests/run soak vms …)
	@tests/run soak

deb: $(DEB) ## the Debian package, in dist/

$(DEB): $(PARTS) | tools
	@debian/build dist
	@echo "built $@"

tools:
	@tests/lab/setup bookworm

clean: ## what the above left in this directory; the lab's cache stays
	rm -rf dist build *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
