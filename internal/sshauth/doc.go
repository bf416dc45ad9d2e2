// Package sshauth logs in to an SSH server (RFC 4252): with keys and certificates from files
// and from an agent, with a password, and through a keyboard-interactive dialogue (RFC 4256).
// It decides what is offered, in which order, as ssh(1) does, and explains a refusal. It opens
// no connection but the agent's, does not verify the server, and knows no tunnel. Package
// connect imports it, and those above for its types.
package sshauth
