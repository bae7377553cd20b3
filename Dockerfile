# An image with one file to run, certificates of public authorities, and an empty directory for the data. There is no shell
# in it, and nothing runs as root.
#
#   docker build -t scimbox .
#   docker run -d --name scimbox -v scimbox:/var/lib/scimbox -p 443:443 -p 80:80 -e SCIMBOX_HOSTNAME=scim.example.com scimbox
#   docker exec scimbox /scimbox token create --name entra --scope write --preset entra
#
# docs/operating.md tells the rest: ports, a proxy in front, other orchestrators.

FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
WORKDIR /src
# First what changes seldom, so that a change of the source does not fetch all modules again.
COPY go.mod go.sum ./
COPY third_party third_party
RUN go mod download
COPY . .
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=dev
ARG COMMIT=
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false \
      -ldflags "-s -w -buildid= -X main.version=$VERSION -X main.commit=$COMMIT" -o /out/scimbox . \
    && mkdir -p /out/data

FROM scratch
LABEL org.opencontainers.image.title="scimbox" \
      org.opencontainers.image.description="A SCIM 2.0 server in one binary" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/scimbox /scimbox
COPY --from=build /src/LICENSE /src/config.example.toml /usr/share/doc/scimbox/
# The owner of a new volume is that of the directory that it covers. scimbox makes it private at its first start.
COPY --from=build --chown=65532:65532 /out/data /var/lib/scimbox
ENV SCIMBOX_DATA=/var/lib/scimbox
USER 65532:65532
VOLUME /var/lib/scimbox
EXPOSE 80 443 8080
STOPSIGNAL SIGTERM
# Opening a store of millions of records verifies all of it first; until then it is not ill.
HEALTHCHECK --interval=30s --timeout=5s --start-period=5m --retries=3 CMD ["/scimbox", "healthcheck"]
ENTRYPOINT ["/scimbox"]
CMD ["serve"]
