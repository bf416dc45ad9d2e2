package sshtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// isolate_linux.go gives the tests of a package a network of their own.

// isolated is in the environment of a process in such a network, and of those
// that it starts. It says how the process got there.
const isolated = "SSHTEST_NETWORK"

// Isolate replaces this process by itself in a new network namespace with
// nothing but a loopback interface: no other process can take a port there, and
// nothing that is outside can be reached. TestMain calls it first. The process
// keeps its id, arguments and files, so go test notices nothing.
//
// It returns in the new network, and where the system does not permit one:
// without root it takes unshare(1) and user namespaces.
func Isolate() {
	switch {
	case os.Getenv(isolated) == "as user":
		// unshare(1) has kept the capabilities for the interface alone: the
		// files that others may not read are not for us.
		if err := onThread(func() error { return errors.Join(loopbackUp(), dropCapabilities(), again("yes")) }); err != nil {
			fmt.Fprintln(os.Stderr, "setting up a network for tests:", err)
			os.Exit(1)
		}
	case os.Getenv(isolated) != "":
	case os.Geteuid() == 0:
		// The namespace is the thread's, and that of the process once the thread
		// has replaced it.
		_ = onThread(func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			if err := loopbackUp(); err != nil {
				return err
			}
			return again("yes")
		})
	default:
		unshare := []string{"unshare", "--user", "--map-current-user", "--net", "--keep-caps", "--"}
		path, err := exec.LookPath(unshare[0])
		if err != nil || exec.Command(path, append(unshare[1:], "true")...).Run() != nil {
			return
		}
		_ = os.Setenv(isolated, "as user")
		_ = syscall.Exec(path, append(unshare, append([]string{self()}, os.Args[1:]...)...), os.Environ())
		_ = os.Unsetenv(isolated)
	}
}

// onThread runs a function on a thread that ends with it.
func onThread(do func() error) error {
	done := make(chan error)
	go func() { // returns when it is done
		runtime.LockOSThread()
		done <- do()
	}()
	return <-done
}

// self is the path of this program. Should it not be known, the one that it was
// started by has to do.
func self() string {
	if path, err := os.Executable(); err == nil {
		return path
	}
	return os.Args[0]
}

// again replaces this process by itself.
func again(how string) error {
	if err := os.Setenv(isolated, how); err != nil {
		return err
	}
	err := syscall.Exec(self(), os.Args, os.Environ())
	_ = os.Unsetenv(isolated)
	return err
}

// loopbackUp starts the loopback interface of the thread's network.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

// dropCapabilities has what the thread becomes have no capabilities.
func dropCapabilities() error {
	return unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
}
