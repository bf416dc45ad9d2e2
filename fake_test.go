package sshtunnel

// fake_test.go contains a tunnel for tests that leads to loopback sockets, or
// nowhere.
