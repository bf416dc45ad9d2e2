# Caddy with this plugin, from a checkout:
#
#	docker build -t caddy-ssh-tunnel .
#
# The version is go.mod's; xcaddy takes it from the builder image.

FROM caddy:2.11.9-builder AS builder
COPY . /src
RUN xcaddy build --with github.com/caddy-ssh-tunnel/caddy-ssh-tunnel@v0.0.0=/src

FROM caddy:2.11.9
COPY --from=builder /usr/bin/caddy /usr/bin/caddy
