// Package sshtest stands up what lies on the far side of a tunnel, on one
// machine: a bastion, the private servers behind it and the network between
// it and us. Tests use all of it, the demo uses Bastion and Key, the benchmark
// Key, FreePort and Process.
//
//   - Bastion is an SSH server in this process. It forwards, it counts, and it
//     misbehaves when a test wants it to.
//   - Malice is one that means harm: a script says what it sends.
//   - SSHD and Dropbear run the real servers, where they are installed.
//   - Link is a TCP relay to put before any of them. It freezes, delays,
//     throttles and cuts.
//   - Netns is a network that nothing but a bastion inside it can reach.
//   - Web is a private web server, CA issues its certificate, Key is a key.
//
// TestMain calls Isolate first. Process is a program beside the test. Needs,
// Takes, Program, Root and Missing say which tests run, with -short and where
// something is not there.
//
// A constructor that begins with New takes a testing.TB: it fails the test
// instead of returning an error, and cleans up after it. One that begins with
// Listen takes none, for use outside of tests.
package sshtest
