# make prints what there is to make.

.PHONY: help
help: ## print this
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

.PHONY: build
build: ## make the binary scimbox
	go build -trimpath -o scimbox .

.PHONY: test
test: ## run all tests
	go test ./...

.PHONY: race
race: ## run all tests with the race detector
	go test -race ./...

.PHONY: lint
lint: ## format, vet and staticcheck
	test -z "$$(gofmt -l . | tee /dev/stderr)"
	go vet ./...
	go tool -modfile=tools/go.mod staticcheck ./...

FUZZTIME ?= 30s
.PHONY: fuzz
fuzz: ## run a fuzz target: make fuzz TARGET=FuzzPatch PACKAGE=./scim FUZZTIME=1m
	go test $(PACKAGE) -run '^$$' -fuzz '^$(TARGET)$$' -fuzztime $(FUZZTIME)

.PHONY: release
release: ## build everything of a release into dist/: make release VERSION=1.2.3 MAINTAINER="NAME <ADDRESS>"
	go -C tools run ./release -version "$(VERSION)" $(if $(MAINTAINER),-maintainer "$(MAINTAINER)")

.PHONY: ci
ci: ## run all that a change has to pass
	.ci/run
