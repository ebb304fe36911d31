# camagent: see README.md. Needs Go and make; what else the tests need is
# installed by `make tools` if it is run as root, and named if it is not.

GO        ?= go
RUN       ?= $(CURDIR)/.run
BIN       := $(CURDIR)/bin
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
BUILT     ?= $(shell git show -s --format=%cI 2>/dev/null)
LDFLAGS   := -s -w -X iid2secure.nl/camagent/cloud.Version=$(VERSION) -X iid2secure.nl/camagent/cloud.Built=$(BUILT)
BUILD     := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'
# What runs seldom is not inlined: that makes camagent 5 % smaller, on the flash and in memory. Frames meet none of it.
SELDOM    := crypto/tls crypto/x509/... crypto/ecdsa crypto/rsa crypto/internal/fips140/ecdsa crypto/internal/fips140/rsa \
	encoding/asn1 encoding/json fmt log/... mime/... net/http/... net/url regexp/... text/... runtime/pprof \
	go.yaml.in/... github.com/go-jose/... github.com/pelletier/... github.com/spf13/... github.com/go-viper/... \
	github.com/eclipse/... github.com/gorilla/... github.com/pion/sdp/... github.com/skip2/... go.uber.org/... image/png image/draw \
	iid2secure.nl/camagent/agent/command iid2secure.nl/camagent/cloud/... iid2secure.nl/camagent/cmd/... iid2secure.nl/camagent/config \
	iid2secure.nl/camagent/hal/haltest iid2secure.nl/camagent/hal/peripheral/... iid2secure.nl/camagent/hal/onboard
# HTTP/2 is left out as well: storage takes uploads by HTTP/1.1.
SMALL     := -tags nethttpomithttp2 $(SELDOM:%=-gcflags=%=-l)
export VERSITYGW := $(BIN)/versitygw

.PHONY: build run test test-arm arm-most arm-pipe arm-rtsp arm-talk arm-agent test-vm test-powercut cross bench bench-arm fuzz fmt lint docs tools clean

build: ## bin/camagent, bin/camctl, bin/camcloud
	$(BUILD) -o $(BIN)/ ./cmd/camctl ./cmd/camcloud
	@echo building camagent; $(BUILD) $(SMALL) -o $(BIN)/ ./cmd/camagent

# The S3 server of development and tests is a module of its own; its first build takes a minute or two.
$(BIN)/versitygw: tools/go.sum
	@echo "building the S3 server for development and tests (once)"
	CGO_ENABLED=0 $(GO) build -C tools -trimpath -ldflags '-s -w' -o $@ github.com/versity/versitygw/cmd/versitygw

$(BIN)/gotestsum: tools/go.sum
	CGO_ENABLED=0 $(GO) build -C tools -trimpath -o $@ gotest.tools/gotestsum

run: build $(BIN)/versitygw ## a camera, its cloud and its owner, until Ctrl-C
	@$(GO) build -trimpath -o $(BIN)/devrun ./scripts/devrun
	@exec $(BIN)/devrun --bin $(BIN) --run $(abspath $(RUN))

tools: ## what the tests need beyond Go
	@sh scripts/tools.sh

# What can be is compiled before: tests that keep time with other programs are not to meet it.
test: tools lint build $(BIN)/gotestsum ## everything, with the race detector
	CGO_ENABLED=1 $(GO) build -race ./...
	CGO_ENABLED=1 $(BIN)/gotestsum --format pkgname -- -race -count=1 -p 3 -timeout 15m ./...

# What docs/testing.md says is too slow under emulation is left out.
ARM  = $(shell $(GO) list ./hal/... ./media/... ./cloud/... ./agent/... ./config | grep -vE '/(hal/(sim|haltest|pipe|onboard|example)|media/(rtsp|talk)|agent)$$')
test-arm: tools $(BIN)/versitygw ## the tests of the packages, as 32-bit ARM
	@$(MAKE) -s -j2 -Otarget arm-rtsp arm-most arm-pipe arm-talk arm-agent
arm-most:
	sh scripts/arm.sh -timeout 9m -skip 'NoStormOf2000|FaultsThenHealth|KillAtEvery|KillDuringRecovery|RandomOrders|OnRealConnections' $(ARM)
arm-pipe:
	sh scripts/arm.sh -timeout 9m -skip 'Conform|TestR[0-9]|Oversized' ./hal/pipe
arm-rtsp:
	sh scripts/arm.sh -timeout 9m -skip 'Cable|Multicast|SRTP|Sealed|Recheck|NoKey|Crowd|Hundred|UDP|Talk|Clock|JoinsAnd|MayNotIdle' ./media/rtsp
arm-talk:
	sh scripts/arm.sh -timeout 9m -skip 'Drift' ./media/talk
arm-agent:
	sh scripts/arm.sh -timeout 9m -skip 'Viewers|LiveTells|PortThatIs|BackChannel' ./agent

test-vm: tools ## device tests in virtual machines, arm64 and 32-bit ARM, with Debian's kernels
	@mkdir -p .vm/bin
	CGO_ENABLED=0 $(GO) build -trimpath -o .vm/bin/vm ./scripts/vm
	@.vm/bin/vm test arm64 armhf

# As root: loop devices and file systems are the kernel's. In a mount namespace of its own, so that none that others make
# meanwhile holds them. VMS=yes is virtual machines with cards of vfat and exfat, instead.
test-powercut: tools build $(BIN)/versitygw ## power cuts of cameras and cards
	$(if $(VMS),sh scripts/vm/kernel.sh arm64 && mkdir -p .vm/bin && CGO_ENABLED=0 $(GO) build -trimpath -o .vm/bin/vm ./scripts/vm)
	unshare --mount $(GO) test -tags powercut -count=1 -parallel 8 -timeout 15m -v $(if $(VMS),-run,-skip) Machine ./scripts/powercut -bin $(BIN)

lint:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt would change:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet -tags vm,powercut ./...

fuzz: ## every fuzz target, FUZZ inputs each
	@sh scripts/fuzz.sh $(or $(FUZZ),50000x)

# BENCH is parts of it, by commas: load, replay, late, churn, alloc, whole, clips, size.
bench: tools build $(BIN)/versitygw ## the figures of docs/performance.md, on this machine; JSON lines in .run/bench.jsonl
	$(BUILD) -o $(BIN)/ ./scripts/bench ./scripts/bench/floor
	@$(MAKE) -s cross CROSS=linux/arm/7
	$(BIN)/bench --bin $(BIN) --cache $(RUN) --out $(RUN)/bench.jsonl --only '$(BENCH)'

bench-arm: tools build $(BIN)/versitygw ## the same in instructions of 32-bit ARM, emulated; JSON lines in .run/bench-arm.jsonl
	$(BUILD) -o $(BIN)/ ./scripts/bench ./scripts/bench/floor
	$(BIN)/bench --bin $(BIN) --cache $(RUN) --out $(RUN)/bench-arm.jsonl --only arm

CROSS := linux/arm/7 linux/arm/6 linux/arm64 linux/mipsle linux/amd64
cross: ## stripped binaries for all cameras, in bin/<platform>, with their sizes
	@set -e; for t in $(CROSS); do \
	  os=$$(echo $$t | cut -d/ -f1); arch=$$(echo $$t | cut -d/ -f2); arm=$$(echo $$t | cut -d/ -f3); \
	  dir=$(BIN)/$$os-$$arch$${arm:+v$$arm}; mkdir -p $$dir; \
	  GOOS=$$os GOARCH=$$arch GOARM=$$arm GOMIPS=softfloat $(BUILD) $(SMALL) -o $$dir/ ./cmd/camagent ./cmd/camctl; \
	  ls -l $$dir | awk -v p="$$os-$$arch$${arm:+v$$arm}" 'NR>1 {printf "%-14s %-9s %6.2f MB\n", p, $$9, $$5/1e6}'; \
	done

docs: ## the pages that are made from the code
	$(GO) run ./scripts/requirements
	$(GO) test ./cloud/api -run OpenAPI -update >/dev/null

fmt:
	gofmt -w $$(git ls-files '*.go')

clean:
	rm -rf $(BIN)
