# make serve [IMAGE=disk.qcow2]   build what is needed and serve an image over NBD, with a QMP socket beside it
# make check                      everything that CI checks
# make crash [STATES=1000000]     crash states of random programs, from where the recorded runs ended (docs/reliability.md)
# make faults [POINTS=100000]     failed I/Os, likewise
# make verbs [STATES=1000000] [POINTS=100000]   all that an image can be told, each counted for itself, likewise
# make bitmaps [STATES=1000000]   crash states and failed I/Os of programs with persistent bitmaps, likewise
# make space [CHANGES=10000000]   random changes of one image, and how much of its file it takes meanwhile
# make repair [IMAGES=10000]      images damaged at random, repaired, with crashes and failed I/Os meanwhile, likewise
# make moves [IMAGES=1000]        rebases and commits, broken off at every point and with failed I/Os, likewise
# make exhaustive                 all short programs: goes on where it ended, and begins anew on another commit
# make soak [MINUTES=60]          all of these, and the order of every write, for so long
# make peer [QEMU_IO=qemu-io]     the same judgement on what QEMU writes
# make conformance [GROUP=quick]  QEMU's own tests of its image tools, with its tools and with ours (docs/conformance.md)
# make sequences [COUNT=1000] [FROM=0]   random image commands, with qemu-img and with ours
# make kills [KILLS=1000] [FILESYSTEM=ext4]   SIGKILL under load on a file system of its own: ext4, xfs, btrfs (root) or none
# make bench-images [ROUNDS=3]   the image tool beside qemu-img
# make bench [WORKLOAD="read overwrite"] [ROUNDS=5] [SECONDS=2] [QEMU_PREFIX=DIR]   beside the peers (docs/performance.md)
# make peer-qemu QEMU_PREFIX=DIR  a newer QEMU than the system's, unpacked there and not installed
# make manuals [PREFIX=/usr/local] manual pages and completions of shells, from the tables of options
# make mutants                    takes guards out one at a time: a check must notice each
# make tsan                       what runs on several threads, under ThreadSanitizer
# make fuzz TARGET=qcow2 SECONDS=60   random inputs, led by what they reach (docs/reliability.md); fuzz-merge keeps what is new
.PHONY: conformance sequences moves deps build serve check fuzz fuzz-merge format docs clean simulate crash exhaustive faults audit bitmaps verbs space repair soak peer kills tsan mutants bench bench-images lookups peer-qemu manuals
export SWIFT_BACKTRACE := enable=no

# As people run it: with what it needs of the Swift libraries inside.
RELEASE := -c release --static-swift-stdlib

NACRE := .build/release/nacre
DEMO := demo

# What building needs, installed where it is missing.
deps:
	@scripts/deps build

build: deps
	swift build $(RELEASE) --product nacre

ifdef IMAGE
serve: build
	$(NACRE) serve $(if $(FORMAT),--format $(FORMAT)) "$(IMAGE)"
else
serve: build
	@command -v mke2fs >/dev/null || scripts/deps test
	scripts/demo $(NACRE) $(DEMO)
	$(NACRE) serve $(DEMO)/disk.qcow2
endif

check:
	@scripts/deps build test
	@scripts/python-client
	@scripts/check

STATES := 1000000
POINTS := 100000
PROGRAMS := 100000
# Which programs the seeds stand for: plain, snapshots, data-files, sizes or mixed.
FAMILY := plain
RECORD := --record docs/reliability.md

simulate: deps
	swift build $(RELEASE) --product simulate

crash: simulate
	.build/release/simulate crash --family $(FAMILY) --states $(STATES) --qemu-every 5000 $(RECORD)

exhaustive: simulate
	.build/release/simulate exhaustive $(RECORD)

faults: simulate
	.build/release/simulate faults --family $(FAMILY) --points $(POINTS) $(RECORD)

bitmaps: simulate
	.build/release/simulate bitmaps --states $(STATES) $(RECORD)

verbs: simulate
	.build/release/simulate verbs --states $(STATES) --points $(POINTS) $(RECORD)

CHANGES := 10000000

space: simulate
	.build/release/simulate space --changes $(CHANGES)

repair: simulate
	.build/release/simulate repair --images $(or $(IMAGES),10000) $(RECORD)

moves: simulate
	.build/release/simulate moves --images $(or $(IMAGES),1000) $(RECORD)

audit: simulate
	.build/release/simulate audit --family $(FAMILY) --programs $(PROGRAMS) $(RECORD)

MINUTES := 60
QUARTER = --seconds $$(( $(MINUTES) * 15 ))

soak: simulate
	.build/release/simulate crash $(QUARTER) --qemu-every 5000 $(RECORD)
	.build/release/simulate exhaustive $(QUARTER) $(RECORD)
	.build/release/simulate faults $(QUARTER) $(RECORD)
	.build/release/simulate audit $(QUARTER) $(RECORD)

QEMU_IO := qemu-io

peer: simulate
	@scripts/deps test
	.build/release/simulate peer --qemu-io $(QEMU_IO) --programs 1000 --from 0
	.build/release/simulate peer --qemu-io $(QEMU_IO) --programs 1000 --from 0 --no-discards

conformance: build
	@scripts/deps test conformance
	scripts/conformance --group $(or $(GROUP),quick) --record docs/conformance.md

sequences: build
	@scripts/deps test
	scripts/sequences --count $(or $(COUNT),1000) --from $(or $(FROM),0)

KILLS := 1000
FILESYSTEM := ext4

kills: build
	@scripts/deps test
	scripts/kills --filesystem $(FILESYSTEM) --kills $(KILLS) $(RECORD)

bench-images: build
	@scripts/deps bench
	python3 Benchmarks/images.py $(NACRE) --rounds $(or $(ROUNDS),3)

# The whole run takes some 15 minutes, and is written down; a run of some workloads is only printed.
bench: build
	@scripts/deps bench
	swift build $(RELEASE) --product floor
	python3 Benchmarks/bench.py $(NACRE) .build/release/floor --rounds $(or $(ROUNDS),5) --seconds $(or $(SECONDS),2) \
	  $(if $(QEMU_PREFIX),--qemu-prefix "$(abspath $(QEMU_PREFIX))") $(if $(FOLDER),--folder "$(FOLDER)") \
	  $(if $(WORKLOAD),$(WORKLOAD:%=--workload %),--record docs)

# The prototype of docs/decisions/0012-threads.md.
lookups:
	swift build $(RELEASE) --product lookups
	.build/release/lookups .build/lookups.disk

peer-qemu:
	scripts/peer-qemu "$(QEMU_PREFIX)"

# Whatever runs on more than one thread; the simulations run on one.
TSAN := HostIOTests|HostStorageTests|NBDServerTests|MonitorTests|InteropTests.Story

tsan: deps
	swift build --build-tests --sanitize=thread --scratch-path .build/tsan
	TSAN_OPTIONS="suppressions=$(CURDIR)/Tests/tsan.supp log_path=$(CURDIR)/.build/tsan/report" \
	  swift test --skip-build --sanitize=thread --scratch-path .build/tsan --disable-xctest --no-parallel --filter "$(TSAN)"
	@! cat .build/tsan/report.* 2>/dev/null

mutants: deps
	scripts/mutants

fuzz:
	@scripts/fuzz run "$(TARGET)" $(or $(SECONDS),60)

fuzz-merge:
	@scripts/fuzz merge "$(TARGET)"

format:
	swift format --in-place --parallel --recursive Package.swift Plugins Sources Tests

# The reference manual of QMP, from the schema.
docs:
	swift run qapigen --manual Schema >docs/qmp-reference.md.new && mv docs/qmp-reference.md.new docs/qmp-reference.md

# Made by the program itself, so that they are those of its version.
PREFIX := .build
manuals: build
	$(NACRE) manuals "$(PREFIX)/share"

clean:
	rm -rf .build $(DEMO)
