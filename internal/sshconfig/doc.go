// Package sshconfig finds out what ssh_config(5) files say about a host. It
// knows nothing of Caddy, opens no connection and runs no program.
//
// It reads the files as ssh does: of several values for a keyword the first
// counts, Host and Match blocks are looked at in order, and what a block
// says may decide whether a later one matches.
//
// A Reader is used like this:
//
//	r := &sshconfig.Reader{Home: "/home/deploy", User: "deploy", Warn: log}
//	host, err := r.Resolve("bastion", "", sshconfig.Written{})
package sshconfig
