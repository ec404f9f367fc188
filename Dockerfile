# The image of the agent: mountproof itself, one static program and nothing else.
#
#   docker build -t REGISTRY/mountproof-agent:0.1.0 . && docker push REGISTRY/mountproof-agent:0.1.0
#   mountproof run --env cluster --agent-image REGISTRY/mountproof-agent:0.1.0
#
# Both have to be of the same version. For nodes of several architectures: docker buildx build --platform linux/amd64,linux/arm64.
#
# Whoever runs it unprivileged may; on nodes its DaemonSet says root without a single capability, for kubelet's folders and the
# driver's socket are root's alone (src/environment/agent/manifests.rs has everything that it is given, and why).
ARG BUILDER=rust:1.95-bookworm
FROM ${BUILDER} AS build
# aws-lc, the cryptography, is C.
RUN apt-get update && apt-get install --yes --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# Static, so that nothing else has to be in the image. Nothing of the build is kept but the program, without what only a debugger
# reads.
RUN target=$(rustc -vV | sed -n 's/^host: //p') \
 && RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --bin mountproof --target "$target" \
 && strip -o /mountproof "target/$target/release/mountproof" \
 && rm -r target

FROM scratch
COPY --from=build /mountproof /mountproof
USER 65532:65532
ENTRYPOINT ["/mountproof", "agent"]
