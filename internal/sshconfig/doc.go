// Package sshconfig finds out what ssh_config(5) files say about a host. It
// knows nothing of Caddy and opens no connection. It runs no program by itself: see
// Reader.Exec.
//
// It reads the files as ssh does: of several values for a keyword the first
// counts, Host and Match blocks are looked at in order, and what a block
// says may decide whether a later one matches. From the outside in:
//
//	reader.go      Reader: files and an alias in, a Host out
//	host.go        Host: the values in effect, ready to use
//	jump.go        ProxyJump: the hosts on the way, each with its own blocks
//	evaluate.go    going through the lines of a file, and of those it includes
//	match.go       which Host and Match blocks match
//	canonical.go   CanonicalizeHostname
//	keywords.go    the keywords that are taken, and those that are not
//	ignored.go     the keywords that say nothing about a tunnel
//	similar.go     what is said of a keyword that ssh does not know
//	forward.go     LocalForward, RemoteForward and DynamicForward
//	values.go      times, sizes, flags and the like
//	address.go     addresses, and Match localnetwork
//	expand.go      tokens such as %h, ~ and ${VARIABLES}
//	algorithms.go  lists of algorithms with +, - and ^
//	file.go        a file as lines, and who may have written it
//	lexer.go       a line as a keyword and its arguments
//
// A Reader is used like this:
//
//	r := &sshconfig.Reader{Home: "/home/deploy", User: "deploy", Warn: log}
//	host, err := r.Resolve("bastion", "", sshconfig.Written{})
package sshconfig
