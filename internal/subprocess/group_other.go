//go:build !unix

package subprocess

import (
	"errors"
	"os/exec"
)

// Supported reports whether commands can be run on this system.
const Supported = false

func ownGroup(*exec.Cmd) {}
func endGroup(int) error { return errors.ErrUnsupported }
func killGroup(int)      {}
