// Package e2e has no code, only tests of the built binary: Caddy with this
// module, in front of the real OpenSSH server. That runs in a network namespace
// of its own, with the web servers behind it listening only inside, so that
// nothing but a tunnel can reach them. The tests need root for this, and ip(8);
// where that is missing they are skipped, but fail if the environment variable
// CI is "true".
package e2e
