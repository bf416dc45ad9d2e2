package command

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// nothing is a level that nothing is logged at.
const nothing = zapcore.FatalLevel

// output is where a command's lines go.
type output struct {
	quiet, verbose bool
	logger         *zap.Logger // for the tunnel's state changes
	level          zap.AtomicLevel
	ending         atomic.Bool

	// mu guards w.
	mu sync.Mutex
	w  io.Writer
}

// newOutput returns an output that, unless it is verbose, has nothing of the
// tunnel's log before the command has started: why that failed is the one line
// that it ends with.
func newOutput(w io.Writer, flags *forwardFlags) *output {
	o := &output{quiet: flags.quiet, verbose: flags.verbose, w: w, level: zap.NewAtomicLevelAt(nothing)}
	if o.verbose {
		o.level.SetLevel(zapcore.DebugLevel)
	}
	o.logger = zap.New(&lineCore{LevelEnabler: o.level, output: o})
	return o
}

// settings returns those of a tunnel that lives as long as the command.
func (o *output) settings(set tunnel.Settings) tunnel.Settings {
	set.Logger = o.logger
	// A connection that is replaced for its age goes on as long as what goes
	// through it.
	set.DrainTimeout = 365 * 24 * time.Hour
	set.Linger = -1
	return set
}

// started lets the tunnel's log through.
func (o *output) started() {
	if !o.quiet && !o.verbose {
		o.level.SetLevel(zapcore.InfoLevel)
	}
}

// end keeps to itself what is only due to the command's end.
func (o *output) end() {
	o.ending.Store(true)
	if !o.verbose {
		o.level.SetLevel(nothing)
	}
}

// line prints a line, unless --quiet is given. Clients and bastions have their
// words in some, which do not drive the terminal.
func (o *output) line(format string, args ...any) {
	if o.quiet {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	_, _ = fmt.Fprintln(o.w, printable.Line(fmt.Sprintf(format, args...)))
}

// closed prints the line of a connection that has ended.
func (o *output) closed(path string, c forward.Connection) {
	why := ""
	if c.Err != nil && !o.ending.Load() {
		why = ": " + c.Err.Error()
	}
	o.line("%s closed after %s, %d bytes sent, %d received%s",
		path, c.Duration.Round(time.Millisecond), c.Read, c.Written, why)
}

// lineCore is a zapcore.Core that prints lines for people.
type lineCore struct {
	zapcore.LevelEnabler
	output *output
	fields []zapcore.Field
}

// With implements zapcore.Core.
func (c *lineCore) With(fields []zapcore.Field) zapcore.Core {
	return &lineCore{c.LevelEnabler, c.output, append(slices.Clip(c.fields), fields...)}
}

// Check implements zapcore.Core.
func (c *lineCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

// Write implements zapcore.Core: "<tunnel>: <message>: <error> (<the rest>)".
// The rest is left out where all is well, unless the output is verbose.
func (c *lineCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	if entry.Message == "connected" && !c.output.verbose {
		return nil // what is forwarded is about to be printed
	}
	where, why := "", ""
	var rest []string
	for _, f := range slices.Concat(c.fields, fields) {
		value, ok := fieldText(f)
		switch {
		case !ok:
		case f.Key == "tunnel":
			where = value + ": "
		case f.Key == "error":
			why = ": " + value
		case c.output.verbose || entry.Level > zapcore.InfoLevel:
			rest = append(rest, f.Key+" "+value)
		}
	}
	line := where + entry.Message + why
	if len(rest) > 0 {
		line += " (" + strings.Join(rest, ", ") + ")"
	}
	c.output.line("%s", line)
	return nil
}

// Sync implements zapcore.Core.
func (*lineCore) Sync() error { return nil }

// fieldText returns a field's value, if it has one.
func fieldText(f zapcore.Field) (string, bool) {
	enc := zapcore.NewMapObjectEncoder()
	f.AddTo(enc)
	value, ok := enc.Fields[f.Key]
	return fmt.Sprint(value), ok
}
