# The commands of the project. What they do stands in tools/*.sh; all of them install what is missing when run as
# root on Debian, and say what to install otherwise.
#
#   make demo         a live desktop on 127.0.0.1:5900 from a small C host (PORT=)
#   make demo-qemu    stock QEMU on our library (PORT=, DISK=image, VGA=qxl|std, QEMU_ARGS=)
#   make lib          stage/lib/libspice-server.so.1, for LD_LIBRARY_PATH
#   make test         everything that CI runs; .ci/run STEP runs one step
#   make install      library, headers and spice-server.pc under PREFIX (/usr/local); DESTDIR, LIBDIR
#   make lint         formatting, clippy, licences
#   make headers      regenerates include/
#   make bench            every benchmark beside spice-server, 15 minutes once built; writes docs/benchmarks.md (DOCS=: no)
#   make bench-quick      the same in two minutes, with figures that say little; writes nothing
#   make bench-latency    wakeup to the client's socket, key to callback, idle wake-ups (QUICK=1; RUN="chrt -f 1")
#   make bench-codecs     pictures, sequences and three clients through spice-server and ours (QUICK=1: < 2 minutes)
#   make bench-traces     recordings of real guests end to end, spice-server and ours (QUICK=1; RUN="chrt -f 1")
#   make bench-pool       two encode workers beside one; wants an idle machine
#   make bench-syscalls   system calls and processor time of the display stream on both libraries and backends (QUICK=1)
#   make bench-tls        raw pictures inside TLS, spice-server and ours by turns (QUICK=1; RUN="chrt -f 1")
#   make bench-links      full links a second, whole sessions, memory of a client (QUICK=1)
#   make bench-film     films on both libraries: frames, bytes, processor time, delay on slow lines (QUICK=1)
#   make bench-rings      small commands of a guest in another process, by callbacks and by shared rings (QUICK=1)
#   make bench-commands   small commands per second, spice-server and ours by turns (docs/benchmarks.md)
#   make fuzz         every fuzz target for FUZZ_SECONDS (60); make fuzz-smoke: 10 s each

PREFIX ?= /usr/local
FUZZ_SECONDS ?= 60
DOCS ?= 1
export QUICK PORT DISK VGA QEMU_ARGS DEMO_SECONDS DESTDIR LIBDIR

.PHONY: lib test demo demo-qemu install headers fuzz fuzz-smoke lint bench bench-quick bench-latency bench-codecs bench-commands bench-film bench-links bench-pool bench-rings bench-syscalls bench-tls bench-traces

lib:
	tools/lib.sh
test:
	tools/test.sh
demo:
	@tools/demo.sh desktop
demo-qemu:
	@tools/demo.sh qemu
install: lib
	tools/install.sh "$(PREFIX)" stage/lib/libspice-server.so.1
headers:
	tools/gen-headers.sh
fuzz:
	tools/fuzz.sh $(FUZZ_SECONDS)
fuzz-smoke:
	tools/fuzz.sh 10
lint:
	tools/setup.sh build test
	tools/lint.sh
bench:
	@tools/setup.sh build test bench
	@benches/all.py $(if $(DOCS),--docs)
bench-quick:
	@tools/setup.sh build test bench
	@benches/all.py --quick
bench-latency: lib
	@benches/latency.sh
bench-codecs:
	@benches/codecs.sh
bench-traces: lib
	@benches/traces.sh
bench-tls:
	@benches/tls.sh
bench-links: lib
	@benches/links.sh
bench-film: lib
	@benches/film.sh
bench-rings: lib
	@benches/rings.sh
bench-pool:
	tools/setup.sh build
	cargo bench --bench pool
bench-syscalls: lib
	benches/syscalls.sh
bench-commands: lib
	tools/setup.sh test
	benches/commands.sh
