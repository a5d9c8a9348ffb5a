# syntax=docker/dockerfile:1
# A static binary, a user that is not root, and nothing else: no shell, no libc.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG VERSION=""
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /keytail ./cmd/server

# distroless/static brings CA certificates, for a MongoDB behind TLS, and /tmp.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /keytail /keytail
# By number, so that Kubernetes can see that it is not root.
USER 65532:65532
# Inside a container loopback is nobody's: publish these ports with care, since
# whoever reaches the first may ask about keys.
ENV KEYTAIL_ADDR=:8080 KEYTAIL_OPS_ADDR=:9090
EXPOSE 8080 9090
# The drain delay and requests in flight take up to 20 s (docker stop -t 30).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["/keytail", "healthcheck"]
ENTRYPOINT ["/keytail"]
CMD ["serve"]
