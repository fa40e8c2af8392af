# dockhealth in an image of nothing but itself.
#
#   docker build -t dockhealth .                                                      builds it from source
#   scripts/build && docker build -t dockhealth --target from-binary -f Dockerfile target/release-bin
#
# The second takes the binary built on this machine and pulls no image: that stage comes first because Docker's
# classic builder runs every stage up to the one it is asked for.
#
# It runs as root inside: the Docker socket and raw ICMP (CAP_NET_RAW, the one capability to keep) want that.
# There is no HEALTHCHECK here, since each subcommand is asked in its own way: deploy/fleet/compose.yaml has them.

FROM scratch AS base
LABEL org.opencontainers.image.title="dockhealth" \
      org.opencontainers.image.description="Keeps fleets of Docker hosts healthy" \
      org.opencontainers.image.licenses="MIT"
ENV DOCKHEALTH_DATA_DIR=/data
WORKDIR /data
ENTRYPOINT ["/dockhealth"]

FROM base AS from-binary
# With --platform linux/arm64 --build-arg ARCH=arm64 it is the binary that `scripts/cross arm64` built.
ARG ARCH
COPY dockhealth${ARCH:+-$ARCH} /dockhealth
COPY links/ /

FROM rust:1-bookworm AS source
WORKDIR /src
COPY . .
RUN scripts/build

FROM base
COPY --from=source /src/target/release-bin/dockhealth /
COPY --from=source /src/target/release-bin/links/ /
