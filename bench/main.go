// Command bench compares ways from Caddy to a web server, on this machine:
// straight, through this module, and through the port of an `ssh -L`.
//
//	go run ./bench
//
// It needs sshd and ssh, and takes its load from wrk if that is installed. See
// README.md beside it.
//
//	main.go         flags, and the order of events
//	rounds.go       rounds of measurements
//	stage.go        what all ways share: programs, keys, web server, sshd
//	way.go          one way: Caddy, alone or with ssh and sshd
//	workload.go     what is measured; idle.go and slowlink.go are the longer ones
//	load.go, wrk.go clients that ask for pages
//	streams.go      clients that hold streams
//	relay.go        a slow link
//	wan.go, wanlink_*.go
//	                a long link, and what goes over it
//	advice.go       settings of the tunnel, Caddy and sshd
//	web.go, nginx.go
//	                the private web servers
//	process.go, procfs.go, system_*.go
//	                processes, and what they use
//	profile.go      CPU profiles of Caddy
//	clocks.go, noise.go
//	                what others did to the machine meanwhile
//	stats.go, results.go, environment.go
//	                what comes out, as JSON
//	table.go, headline.go, plot.go, readme.go
//	                the same for people
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// options are the flags.
type options struct {
	rounds    int
	duration  time.Duration
	workloads string
	json, svg string
	ssh, sshd string
	sshdFiles int
	streams   int
	tunnels   int
	bulk      int64
	settle    time.Duration
	profile   string
	quick     bool
	update    bool
	render    bool
	list      bool
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == webArgument {
		exit(runWeb())
	}
	o, err := parseFlags()
	if err != nil {
		exit(err)
	}
	if isolates(o) {
		sshtest.Isolate() // a long link is a device of a network of ours
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err = run(ctx, o)
	stop()
	exit(err)
}

// exit ends the program.
func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func parseFlags() (options, error) {
	var o options
	flag.IntVar(&o.rounds, "rounds", 3, "how often each workload is measured each way")
	flag.DurationVar(&o.duration, "duration", 3*time.Second, "how long one measurement of requests takes; wrk takes whole seconds, others are left to a generator in Go")
	flag.StringVar(&o.workloads, "workloads", "", "a regular expression that the ids or groups of workloads have to match (default all); see -list")
	flag.StringVar(&o.json, "json", "", "write the results to this `file` as JSON")
	flag.StringVar(&o.svg, "svg", "", "write the plot to this `file`")
	flag.StringVar(&o.ssh, "ssh", "", "the `path` of ssh (default: that of PATH)")
	flag.StringVar(&o.sshd, "sshd", "", "the `path` of sshd (default: that of PATH, or /usr/sbin/sshd)")
	flag.IntVar(&o.sshdFiles, "sshd-nofile", 0, "how many files sshd may open (default: as many as we may)")
	flag.IntVar(&o.streams, "streams", 3000, "how many idle streams are held")
	flag.IntVar(&o.tunnels, "tunnels", 300, "how many idle tunnels are held")
	flag.DurationVar(&o.settle, "settle", 2*time.Second, "how long idle WebSockets are left alone before what goes on beside them is measured; event streams eight times as long")
	flag.StringVar(&o.profile, "profile", "", "write CPU profiles of Caddy into this `directory`; they cost some speed")
	flag.BoolVar(&o.quick, "quick", false, "one short round of everything, for a look whether it works")
	flag.BoolVar(&o.update, "update", false, "put the results into "+resultsFile+", and write what -render does; refuses after a noisy run")
	flag.BoolVar(&o.render, "render", false, "measure nothing; write "+plotFile+" and the tables in "+readmeFile+", "+rangesFile+" and "+measuredFile+" from "+resultsFile)
	flag.BoolVar(&o.list, "list", false, "measure nothing; list the workloads with their groups and ways")
	flag.Parse()
	o.bulk = 256 << 20
	if o.quick {
		o.rounds, o.duration, o.streams, o.settle, o.bulk = 1, 200*time.Millisecond, 100, 100*time.Millisecond, 16<<20
		o.tunnels = 20
	}
	switch {
	case flag.NArg() > 0:
		return o, fmt.Errorf("unknown argument %q; there are only flags, see -help", flag.Arg(0))
	case o.rounds < 1 || o.streams < 1 || o.tunnels < 1 || o.duration <= 0 || o.settle < 0 || o.sshdFiles < 0:
		return o, errors.New("-rounds, -streams, -tunnels and -duration have to be positive, -settle and -sshd-nofile not negative")
	case o.update && (o.quick || o.rounds < 3):
		return o, errors.New("-update is for runs of 3 rounds or more: leave out -quick")
	}
	return o, nil
}

// run is the benchmark. It returns when all is measured, or ctx done; nothing
// that it has started is left then.
func run(ctx context.Context, o options) (err error) {
	if o.render {
		root, err := repositoryRoot()
		if err != nil {
			return err
		}
		return render(root)
	}
	list, err := chosen(o)
	if err != nil {
		return err
	}
	if o.list {
		for _, w := range list {
			fmt.Printf("%-20s %-10s %-40s %v\n", w.id, w.group, w.title, w.ways())
		}
		return nil
	}
	if o.update {
		if err := look(ctx); err != nil {
			return err
		}
	}
	s, err := newStage(ctx, o)
	defer func() { err = errors.Join(err, s.close()) }()
	if err != nil {
		return err
	}
	if o.update {
		if missing := s.missing(list); len(missing) > 0 {
			return fmt.Errorf("-update is for runs that measure everything; not measured: %s", strings.Join(missing, "; "))
		}
	}
	r, err := s.measure(ctx, list)
	if err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		return err
	}
	r.Environment = s.environment()
	r.Settings = settings{Rounds: o.rounds, Seconds: o.duration.Seconds(), LoadGenerator: s.loadGenerator(), Streams: o.streams}
	return report(o, s.root, r)
}

// isolates reports whether a workload is chosen that makes a network device.
func isolates(o options) bool {
	list, _ := chosen(o) // run reports the error
	return missingWAN() == "" && slices.ContainsFunc(list, func(w workload) bool { return w.isolated })
}

// chosen returns the workloads that -workloads wants.
func chosen(o options) ([]workload, error) {
	expression, err := regexp.Compile(o.workloads)
	if err != nil {
		return nil, fmt.Errorf("-workloads: %w", err)
	}
	all := workloads(o)
	var names []string
	for _, w := range all {
		names = append(names, w.id)
		if !slices.Contains(names, w.group) {
			names = append(names, w.group)
		}
	}
	list := slices.DeleteFunc(all, func(w workload) bool {
		return !expression.MatchString(w.id) && !expression.MatchString(w.group)
	})
	if len(list) == 0 {
		return nil, fmt.Errorf("-workloads %q matches none of %v", o.workloads, names)
	}
	return list, nil
}

// report prints the results, and writes them where the flags say.
func report(o options, root string, r results) error {
	fmt.Println(tables(r))
	if complaints := r.complaints(); len(complaints) > 0 {
		fmt.Fprintf(os.Stderr, "TOO NOISY to say much:\n  %s\n", strings.Join(complaints, "\n  "))
	}
	if o.json != "" {
		if err := writeHistory(o.json, history{Machines: []results{r}}); err != nil {
			return err
		}
	}
	if o.svg != "" {
		if err := os.WriteFile(o.svg, []byte(plot(r)), 0o644); err != nil { //nolint:gosec // G306: it is for everybody
			return err
		}
	}
	if !o.update {
		return nil
	}
	if err := r.refusal(); err != nil {
		return err
	}
	h, err := readHistory(filepath.Join(root, resultsFile))
	if err != nil {
		return err
	}
	if err := writeHistory(filepath.Join(root, resultsFile), h.add(r)); err != nil {
		return err
	}
	return render(root)
}
