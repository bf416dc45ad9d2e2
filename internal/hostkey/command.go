// command.go gets host keys from a command: KnownHostsCommand of ssh_config(5).

package hostkey

import (
	"context"
	"encoding/base64"
	"maps"
	"slices"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshsyntax"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/subprocess"
)

// Command is a command that writes known_hosts lines. As with ssh, it is executed twice
// for each connection: before the key exchange, and when the server has shown its key.
type Command struct {
	// Args are the absolute path of a program, and its arguments with their tokens: those
	// of Tokens, and %f, %H, %I, %K, %T and %t, which say what is asked for.
	Args []string

	// Tokens are what the other tokens stand for.
	Tokens sshsyntax.Tokens
}

// commandOption names it in logs and errors.
const commandOption = "KnownHostsCommand"

// maxOutput is how much a command may write, as much as a known_hosts file may have.
const maxOutput = 64 << 20

// What a command is executed for.
const (
	invokedForOrder = "ORDER"    // of the algorithms to ask the server for
	invokedForName  = "HOSTNAME" // for the server's key
)

// run executes the command, which ctx bounds, and returns the lines that it writes, with
// warnings about those that are not used. key is what the server has shown, or nil.
func (c *Command) run(ctx context.Context, name, invocation string, key ssh.PublicKey, log *zap.Logger) (lines []knownLine, warnings []string, err error) {
	tokens := maps.Clone(c.Tokens)
	maps.Copy(tokens, sshsyntax.Tokens{'H': name, 'I': invocation, 'f': "NONE", 'K': "NONE", 'T': "NONE", 't': "NONE"})
	if key != nil {
		tokens['f'] = ssh.FingerprintSHA256(algorithms.PlainKey(key))
		tokens['K'] = base64.StdEncoding.EncodeToString(key.Marshal())
		tokens['t'] = key.Type()
	}
	args := slices.Clone(c.Args)
	for i, arg := range args[1:] {
		if args[i+1], err = tokens.ExpandAll(arg); err != nil {
			return nil, nil, err
		}
	}
	command := subprocess.Command{Option: commandOption, Args: args, Log: log}
	output, err := command.Output(ctx, maxOutput)
	if err != nil {
		return nil, nil, err
	}
	lines, bad := parseKnownHosts(commandOption, output)
	for i, b := range bad {
		if b.revokes && b.isAbout(hostNames{name: name}) {
			return nil, nil, b.revocationError()
		}
		if i < maxSkipped {
			warnings = append(warnings, b.warning())
		}
	}
	for i := range lines {
		lines[i].exact = true
	}
	return lines, warnings, nil
}

// ask gets the lines of KnownHostsCommand about the server, if there is one, in place of those
// that it got before.
func (v *Verifier) ask(ctx context.Context, invocation string, key ssh.PublicKey) error {
	if v.cfg.KnownHostsCommand == nil {
		return nil
	}
	lines, warnings, err := v.cfg.KnownHostsCommand.run(ctx, v.names.name, invocation, key, v.log)
	if err != nil {
		return failure.New(failure.ClassProtocol, failure.CauseConfiguration, err)
	}
	for _, w := range v.newWarnings(warnings) {
		v.log.Warn(w)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.know(lines)
	if !slices.Contains(v.searched, commandOption) {
		v.searched = append(v.searched, commandOption)
	}
	switch {
	case v.knowsAnything(): // which alone counts
		v.memory, v.learned, v.recalled = nil, nil, false
	case v.learned != nil:
		v.remember(v.learned)
	}
	return nil
}

// newWarnings returns those that it has not returned before: the command writes most lines
// each time that it is executed.
func (v *Verifier) newWarnings(warnings []string) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	warnings = slices.DeleteFunc(warnings, func(w string) bool { return slices.Contains(v.warned, w) })
	v.warned = append(v.warned, warnings...)
	return warnings
}
