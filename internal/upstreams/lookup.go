package upstreams

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
)

// question is what a request makes Caddy look up.
type question struct {
	name string // absolute, with its final dot
	port string // "" with SRV records, which have one
}

// question returns what a request asks for, once its placeholders have values.
func (u *Upstreams) question(r *http.Request) (q question, err error) {
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	replace := func(s string) string { return repl.ReplaceAll(s, "") }
	if q.name, err = u.domainName(replace); err == nil {
		q.port, err = u.upstreamPort(replace)
	}
	return q, err
}

// domainName returns the name to look up, with the values that replace gives
// placeholders.
func (u *Upstreams) domainName(replace func(string) string) (string, error) {
	name := replace(u.Name)
	if u.Service != "" {
		name = "_" + replace(u.Service) + "._" + replace(u.Proto) + "." + name
	}
	absolute, err := absoluteName(name)
	if err != nil {
		return "", fmt.Errorf("name %s: %w", redact.Quote(name), err)
	}
	return absolute, nil
}

// upstreamPort returns the port of addresses, with the values that replace gives
// placeholders.
func (u *Upstreams) upstreamPort(replace func(string) string) (string, error) {
	if u.Type == TypeSRV {
		return "", nil
	}
	port := replace(cmp.Or(u.Port, defaultPort))
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("port %s is not a number from 1 to 65535", redact.Quote(port))
	}
	return port, nil
}

// absoluteName returns a domain name with its final dot, so that no search list applies.
// It refuses what cannot be the name of a host or a service: it may come from a client,
// or from a DNS server, and Caddy replaces placeholders in upstreams.
func absoluteName(s string) (string, error) {
	name := strings.TrimSuffix(s, ".")
	if _, err := netip.ParseAddr(name); err == nil {
		return "", errors.New("an address, which needs no lookup; write it as an upstream")
	}
	if len(name) > 253 {
		return "", errors.New("longer than 253 characters")
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return "", errors.New("a label of it is empty, or longer than 63 characters")
		}
		if i := strings.IndexFunc(label, func(c rune) bool {
			return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_'
		}); i >= 0 {
			return "", errors.New("not a domain name: it has only letters, digits, hyphens, underscores and dots")
		}
	}
	return strings.ToLower(name) + ".", nil
}

// lookup asks the DNS servers, and logs what came of it.
func (u *Upstreams) lookup(ctx context.Context, q question) (addresses []string, err error) {
	began := time.Now()
	switch u.Type {
	case TypeA:
		addresses, err = u.lookupA(ctx, q)
	case TypeSRV:
		addresses, err = u.lookupSRV(ctx, q)
	}
	fields := []zap.Field{zap.String("tunnel", u.TunnelName), zap.String("name", q.name)}
	if err != nil && ctx.Err() == nil {
		kind := "failure"
		if errors.Is(err, errNoRecords) {
			kind = "no records" // clients that choose such names hide no failure
		}
		level, unlogged := u.limiter.Level(zap.WarnLevel, kind, 1)
		u.log.Log(level, "looking up upstreams failed", append(fields, zap.Error(err), zap.Int("unlogged", unlogged))...)
	}
	if err != nil {
		return nil, err
	}
	u.log.Debug("looked up upstreams", append(fields, zap.Strings("upstreams", addresses), zap.Duration("duration", time.Since(began)))...)
	u.limiter.Over()
	denied := slices.DeleteFunc(slices.Clone(addresses), u.permits)
	if len(denied) > 0 {
		level, unlogged := u.limiter.Level(zap.WarnLevel, "denied", 1)
		u.log.Log(level, "permit_open does not permit upstreams that were looked up", append(fields,
			zap.Strings("denied", denied), zap.Int("permitted", len(addresses)-len(denied)), zap.Int("unlogged", unlogged))...)
	}
	return addresses, nil
}

// recordTypes are the types of records by version of IP, in the order of their
// addresses.
var recordTypes = []struct {
	version string
	typ     dnsmessage.Type
}{
	{"ipv4", dnsmessage.TypeA},
	{"ipv6", dnsmessage.TypeAAAA},
}

// lookupA looks up addresses, both versions at once. If there are any, it is no matter
// that a version has none, or has failed.
func (u *Upstreams) lookupA(ctx context.Context, q question) ([]string, error) {
	type outcome struct {
		answers []dnsmessage.Resource
		err     error
	}
	outcomes := make([]outcome, len(recordTypes))
	var asking sync.WaitGroup
	for i, records := range recordTypes {
		if len(u.Versions) == 0 || slices.Contains(u.Versions, records.version) {
			asking.Go(func() { outcomes[i].answers, outcomes[i].err = u.resolver.ask(ctx, q.name, records.typ) })
		}
	}
	asking.Wait()

	var addresses []string
	var failure error
	for _, o := range outcomes {
		for _, answer := range o.answers {
			switch body := answer.Body.(type) {
			case *dnsmessage.AResource:
				addresses = append(addresses, net.JoinHostPort(netip.AddrFrom4(body.A).String(), q.port))
			case *dnsmessage.AAAAResource:
				addresses = append(addresses, net.JoinHostPort(netip.AddrFrom16(body.AAAA).String(), q.port))
			}
		}
		if failure == nil || errors.Is(failure, errNoRecords) && o.err != nil {
			failure = o.err
		}
	}
	if len(addresses) > 0 {
		return addresses, nil
	}
	return nil, failure
}

// lookupSRV looks up hosts and ports, the preferred ones first. They are as a person
// would write them: the bastion looks the hosts up when they are dialed, and compares
// them with its PermitOpen.
func (u *Upstreams) lookupSRV(ctx context.Context, q question) ([]string, error) {
	answers, err := u.resolver.ask(ctx, q.name, dnsmessage.TypeSRV)
	if err != nil {
		return nil, err
	}
	var records []*dnsmessage.SRVResource
	for _, answer := range answers {
		records = append(records, answer.Body.(*dnsmessage.SRVResource)) // what was asked for
	}
	var addresses []string
	for _, r := range inOrder(records) {
		// A target "." says that there is no such service.
		if target, err := absoluteName(r.Target.String()); err == nil && r.Port != 0 {
			addresses = append(addresses, net.JoinHostPort(strings.TrimSuffix(target, "."), strconv.Itoa(int(r.Port))))
		}
	}
	if len(addresses) == 0 {
		return nil, fmt.Errorf("%w: none names a host and a port", errNoRecords)
	}
	return addresses, nil
}

// inOrder returns records by priority. Those of the same priority are in a random
// order, in which each is before the others as often as its weight says (RFC 2782).
func inOrder(records []*dnsmessage.SRVResource) []*dnsmessage.SRVResource {
	// Of independent exponential variables, the chance of each to be the least is in
	// proportion to its rate. A weight of 0 makes one infinite.
	place := make(map[*dnsmessage.SRVResource]float64, len(records))
	for _, r := range records {
		place[r] = rand.ExpFloat64() / float64(r.Weight) //nolint:gosec // no secret
	}
	return slices.SortedStableFunc(slices.Values(records), func(a, b *dnsmessage.SRVResource) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(place[a], place[b]))
	})
}
