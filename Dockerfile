# For those who have a registry to pull from: the same images as `make image` makes without one.
#
#   docker build --build-arg PACKAGE=countersign-service --build-arg PROGRAM=countersignd --build-arg FEATURES=store-dynamodb,store-valkey -t countersign/countersignd .
#   docker build --build-arg PACKAGE=countersign-client --build-arg PROGRAM=countersign -t countersign/client .
#   docker build --build-arg PACKAGE=countersign-loadtest --build-arg PROGRAM=countersign-loadtest --build-arg FEATURES=kubernetes -t countersign/loadtest .
FROM docker.io/library/rust:1.95-alpine AS build
RUN apk add --no-cache build-base cmake linux-headers perl ca-certificates-bundle
WORKDIR /src
COPY . .
ARG PACKAGE=countersign-service
ARG PROGRAM=countersignd
ARG FEATURES=
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --locked --profile dist --package "$PACKAGE" --bin "$PROGRAM" --features "$FEATURES" && \
    strip --strip-all -o /program "target/dist/$PROGRAM" && mkdir -p /root-of-image/tmp && chmod 1777 /root-of-image/tmp && \
    cp /program "/root-of-image/$PROGRAM" && ln -s "/$PROGRAM" /root-of-image/entrypoint

FROM scratch
COPY --from=build /root-of-image/ /
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
ENTRYPOINT ["/entrypoint"]
