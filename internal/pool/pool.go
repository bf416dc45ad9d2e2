package pool

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/metrics"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
)

// Pool is a tunnel: its connections, and what it takes to get them. All configurations
// that describe the same tunnel share it.
//
// It lives until nobody holds it, its channels have ended and Linger has passed, or until
// DrainTimeout after the last hold. While it lives, maintain keeps it connected.
type Pool struct {
	identity
	life
	workers
	// reports are for the log and the observer. Their lock is taken within mu.
	reports report.Queue

	// mu guards the rest. It is never held across I/O or a call upwards.
	mu sync.Mutex
	configs
	takeovers
	// members are all connections, oldest first.
	members []*member
	// growth is what connections are lacking.
	growth growth
	// slow are the names whose lookup a connection has stalled over.
	slow slowNames
	// failback is which host is in use, and the return to one before it.
	failback failback
	// retry is when the tunnel connects.
	retry retry
	// queue are the dials that wait.
	queue dialQueue
	// history is what has happened, for status among others.
	history history
}

// identity is what makes a pool another than others. It never changes.
type identity struct {
	cfg connect.Config
	// owner keeps the pool for those who hold it.
	owner Owner
	// hosts are the bastions that it may connect to, in order of preference.
	hosts []*host
	// connector connects to them.
	connector *connect.Connector
	// counters count what happens to the tunnel.
	counters *metrics.Counters
	// forwards are what the bastion is to listen on. Their lock is taken within mu.
	forwards *remote.Forwards
}

// workers are the goroutines of a pool.
type workers struct {
	// woken tells maintain that there may be something to do.
	woken chan struct{}
	// certified tells renewal.Watch of a new connection with a certificate.
	certified chan struct{}
	// running says that maintain runs, watching that renewal.Watch does. Pool.mu guards
	// them.
	running, watching bool
}

// configs are the configurations that have the tunnel.
type configs struct {
	// configured are those that have it, oldest first.
	configured []configuration
	// set is in force: that of the newest.
	set Settings
}

// configuration is what one has chosen. id tells it from others.
type configuration struct {
	id  any
	set Settings
}

// takeovers are counted for those who keep channels.
type takeovers struct {
	// generation is that of the last takeover. moved is closed, and replaced, when it
	// changes.
	generation atomic.Uint64
	moved      chan struct{}
}

// New makes the pool of a tunnel, which jumps through another one if jump is not nil. It
// connects to nothing before it is configured, or somebody dials. set is in force until it
// is configured; as all settings of a pool it is as WithDefaults returns it. Nobody holds it
// yet.
func New(cfg connect.Config, set Settings, jump *connect.Jump, owner Owner) *Pool {
	p := &Pool{
		identity:  identity{cfg: cfg, owner: owner, counters: metrics.Get(cfg.Name)},
		workers:   workers{woken: make(chan struct{}, 1), certified: make(chan struct{}, 1)},
		configs:   configs{set: set},
		takeovers: takeovers{moved: make(chan struct{})},
		history:   history{since: time.Now()},
	}
	p.ctx, p.end = context.WithCancel(context.Background())
	p.forwards = remote.New(p.ctx, cfg.Name, forwarding{p}, &p.counters.Accepted)
	p.connector = connect.New(cfg, jump, p.woken, p.attemptState, &p.counters.Received, &p.counters.Sent)
	for _, h := range p.connector.Hosts() {
		p.hosts = append(p.hosts, &host{Host: h})
	}
	p.failback.inUse = p.hosts[0]
	return p
}

// Configure puts the settings of a configuration in force, and lets its listeners accept;
// see Listen. The tunnel connects, unless it is lazy. id is comparable.
func (p *Pool) Configure(id any, set Settings) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drainAt = time.Time{}
	p.set = set
	p.configured = append(p.configured, configuration{id, set})
	p.forwards.Start(id)
	p.wake()
}

// Unconfigure takes the settings of a configuration out of force, in favor of the newest of
// the others, and its listeners out of service.
func (p *Pool) Unconfigure(id any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.configured = slices.DeleteFunc(p.configured, func(c configuration) bool { return c.id == id })
	if n := len(p.configured); n > 0 {
		p.set = p.configured[n-1].set
	}
	p.forwards.Stop(id)
}

// ConnectTimeout is how long a connect to one hop may take, by the settings in force.
func (p *Pool) ConnectTimeout() time.Duration { return p.settings().ConnectTimeout }

// settings returns those in force.
func (p *Pool) settings() Settings {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.set
}

// log returns the logger in force. The caller does not hold mu.
func (p *Pool) log() *zap.Logger {
	p.mu.Lock()
	logger, address := p.set.Logger, p.failback.inUse.Address
	p.mu.Unlock()
	return logger.With(zap.String("tunnel", p.cfg.Name), zap.String("address", address))
}

// addressInUse is the address of the host in use.
func (p *Pool) addressInUse() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failback.inUse.Address
}

// broadcast wakes the forwards and serves the dials that wait: the connections have
// changed, or whether the tunnel is down. The caller holds mu.
func (p *Pool) broadcast() {
	p.forwards.Changed()
	p.serveQueue()
}

// emit reports an event about the bastion at an address to the observer, if there is one.
func (p *Pool) emit(name, address string, fields ...zap.Field) {
	if observer := p.settings().Observer; observer != nil {
		observer.Observe(report.NewEvent(name, p.cfg.Name, address, fields))
	}
}
