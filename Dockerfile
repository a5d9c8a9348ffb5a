# A static binary, a user that is not root, and nothing else: no shell, no libc.
#
#   docker build --build-arg VERSION="$(git describe --tags --always --dirty)" \
#     --build-arg COMMIT="$(git rev-parse HEAD)" --tag keytail .
#
# The file builds with BuildKit and with the legacy builder, so it has neither a
# "# syntax" line nor cache mounts, which the legacy builder does not know. The
# layer of `go mod download` takes the place of a cache mount.
#
# The base images are arguments, so that a machine without an image registry can
# build with its own images (.ci/compose does that, docs/testing.md describes how).
# Renovate updates both lines, and pins the first by digest with its first update.
ARG GO_IMAGE=golang:1.26.10-bookworm
# distroless/static has CA certificates, for a MongoDB behind TLS, and /tmp.
ARG STATIC_IMAGE=gcr.io/distroless/static-debian12:nonroot@sha256:d093aa3e30dbadd3efe1310db061a14da60299baff8450a17fe0ccc514a16639

FROM ${GO_IMAGE} AS build
WORKDIR /src
# Where modules come from, if not from Go's defaults. These are not in the final
# image, because only the binary is copied there.
ARG GOPROXY
ARG GOSUMDB
ARG GONOSUMDB
ARG GOPRIVATE
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# Compiled before the version is known: another commit with the same sources is
# linked anew and nothing else. The tag leaves out a binding of gin (docs/deploy.md).
RUN CGO_ENABLED=0 go build -trimpath -tags nomsgpack -o /dev/null ./cmd/keytail
# The build context has no .git, so Go cannot find the tag and the commit itself.
ARG VERSION=""
ARG COMMIT=""
# Such as linux/amd64. The legacy builder does not know it; then the binary is in /.
ARG TARGETPLATFORM
RUN CGO_ENABLED=0 go build -trimpath -tags nomsgpack -ldflags "-s -w -X main.version=${VERSION} -X main.commit=${COMMIT}" -o "/${TARGETPLATFORM}/" ./cmd/keytail

FROM ${STATIC_IMAGE}
# A release puts its own binaries in the place of the stage above (.goreleaser.yaml).
ARG TARGETPLATFORM
COPY --from=build /${TARGETPLATFORM}/keytail /keytail
# By number, so that Kubernetes can see that the user is not root.
USER 65532:65532
# The container's own loopback address cannot be reached from outside. Publish
# these ports with care: a client that reaches the first can check API keys.
ENV KEYTAIL_ADDR=:8080 KEYTAIL_OPS_ADDR=:9090
EXPOSE 8080 9090
# The drain delay and requests in flight take up to 20 s (docker stop -t 30).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["/keytail", "healthcheck"]
ENTRYPOINT ["/keytail"]
CMD ["serve"]
