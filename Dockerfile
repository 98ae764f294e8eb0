# syntax=docker/dockerfile:1
# The image: one static program, and nothing that could run beside it.
#
#   docker build -t keywright:dev .
#   docker buildx build --sbom=true --provenance=true --platform linux/amd64,linux/arm64 -t registry.example.com/keywright:dev --push .
#
# The program carries the list of its crates (cargo-auditable), which scanners and BuildKit's --sbom read.

FROM rust:1.95.0-bookworm AS build
RUN cargo install --locked cargo-auditable@0.7.7
WORKDIR /build
COPY . .
# -C for the last step alone: RUSTFLAGS would reach build scripts and procedural macros, which cannot be static.
RUN cargo auditable rustc --locked --release --bin keywright -- -C target-feature=+crt-static

FROM scratch
COPY --from=build --chmod=0555 /build/target/release/keywright /keywright
# Of nobody. A cluster may assign another uid.
USER 65532:65532
ENTRYPOINT ["/keywright"]
