# check=error=true
# The operator's image: one program, no shell, no package manager, not root.
#
# Whoever publishes it pins both images by digest:
#   --build-arg RUST_IMAGE=docker.io/library/rust:1.95.0-slim-bookworm@sha256:…
#   --build-arg BASE_IMAGE=gcr.io/distroless/cc-debian12:nonroot@sha256:…
ARG RUST_IMAGE=docker.io/library/rust:1.95.0-slim-bookworm
ARG BASE_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUST_IMAGE} AS build
ARG PROFILE=release
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
# Not compiled, but cargo wants to see every part that the manifests name.
COPY benches/fleet.rs benches/
COPY hack/sim/Cargo.toml hack/sim/
COPY hack/sim/src/lib.rs hack/sim/src/
COPY hack/envtest/Cargo.toml hack/envtest/
COPY hack/envtest/src/lib.rs hack/envtest/src/
COPY hack/build.sh hack/
COPY src src/
RUN hack/build.sh "$PROFILE" dist

FROM ${BASE_IMAGE}
COPY LICENSE /
COPY --from=build /src/dist/databricks-app-operator /
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/databricks-app-operator"]
