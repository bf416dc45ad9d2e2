package upstreams

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialtimeout"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// resolver asks DNS servers behind a bastion. It is not net.Resolver: that answers from
// /etc/hosts even for an absolute name, and takes the number of servers, timeouts and
// options from /etc/resolv.conf, all of this machine.
type resolver struct {
	dial        func(context.Context, tunnel.Target) (dialer.Channel, error)
	servers     []tunnel.Target
	dialTimeout time.Duration
}

// answerTimeout is how long a DNS server may take to answer.
const answerTimeout = 5 * time.Second

// errNoRecords is the answer that a name does not exist, or has no records of the
// type. It is final: no other server is asked.
var errNoRecords = errors.New("no records")

// errOtherQuestion is what comes of a server that does not speak DNS as it should.
var errOtherQuestion = errors.New("the answer is to another question")

// ask returns the records of a type that an absolute name has, behind its aliases if it
// has any: one at least. It asks one server after the other until one answers. Errors
// are errNoRecords, those of the tunnel, and why no server has answered.
func (r *resolver) ask(ctx context.Context, name string, typ dnsmessage.Type) (records []dnsmessage.Resource, err error) {
	var failure error
	for _, server := range r.servers {
		records, err := r.askServer(ctx, server, name, typ)
		if err == nil || errors.Is(err, errNoRecords) {
			return records, err
		}
		if isOfTunnel(err) || ctx.Err() != nil {
			return nil, err // the other servers are behind the same tunnel
		}
		if err = fmt.Errorf("DNS server %q: %w", server.Address, err); failure != nil {
			err = fmt.Errorf("%w; %w", failure, err)
		}
		failure = err
	}
	return nil, failure
}

// isOfTunnel reports whether a dial has failed whose target does not matter.
func isOfTunnel(err error) bool {
	_, down := errors.AsType[*tunnel.DownError](err)
	_, full := errors.AsType[*tunnel.FullError](err)
	return down || full || errors.Is(err, tunnel.ErrClosed)
}

// askServer asks one server, over a channel of its own: not every server answers
// several queries over one connection.
func (r *resolver) askServer(ctx context.Context, server tunnel.Target, name string, typ dnsmessage.Type) ([]dnsmessage.Resource, error) {
	query, err := newQuery(name, typ)
	if err != nil {
		return nil, err
	}
	dialCtx, cancel := dialtimeout.With(ctx, r.dialTimeout, fmt.Errorf("no answer within dial_timeout (%s)", r.dialTimeout))
	conn, err := r.dial(dialCtx, server)
	cancel()
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()

	answer, err := exchange(conn, query)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fmt.Errorf("no answer within %s", answerTimeout)
	case err != nil:
		return nil, err
	}
	return parseAnswer(answer, query)
}

// newQuery returns a query for records of an absolute name, behind its length in two
// bytes, as it is sent over TCP (RFC 1035 section 4.2.2).
func newQuery(name string, typ dnsmessage.Type) ([]byte, error) {
	qname, err := dnsmessage.NewName(name)
	if err != nil {
		return nil, err
	}
	builder := dnsmessage.NewBuilder(make([]byte, 2, 512), dnsmessage.Header{ID: uint16(rand.Uint32()), RecursionDesired: true}) //nolint:gosec // no secret: only its channel can carry the answer
	if err := builder.StartQuestions(); err != nil {
		return nil, err
	}
	if err := builder.Question(dnsmessage.Question{Name: qname, Type: typ, Class: dnsmessage.ClassINET}); err != nil {
		return nil, err
	}
	query, err := builder.Finish()
	if err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint16(query, uint16(len(query)-2)) //nolint:gosec // a name and little more
	return query, nil
}

// exchange sends a query and returns the message that comes back.
func exchange(conn io.ReadWriter, query []byte) ([]byte, error) {
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	length := make([]byte, 2)
	if _, err := io.ReadFull(conn, length); err != nil {
		return nil, noAnswer(err)
	}
	answer := make([]byte, binary.BigEndian.Uint16(length))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return nil, noAnswer(err)
	}
	return answer, nil
}

// noAnswer says what the end of a connection means.
func noAnswer(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("closed the connection without an answer; it may not speak DNS over TCP")
	}
	return err
}

// parseAnswer returns the records in an answer to a query that are of the type that was
// asked for. Those of another name are behind an alias.
func parseAnswer(answer, query []byte) ([]dnsmessage.Resource, error) {
	var asked, parser dnsmessage.Parser
	askedHeader, _ := asked.Start(query[2:]) // our own
	question, _ := asked.Question()
	header, err := parser.Start(answer)
	if err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	failed := header.RCode != dnsmessage.RCodeSuccess && header.RCode != dnsmessage.RCodeNameError
	answered, err := parser.Question()
	switch {
	case !header.Response || header.ID != askedHeader.ID:
		return nil, errOtherQuestion
	case failed: // it may not repeat the question
		return nil, fmt.Errorf("it answers %s", rcode(header.RCode))
	case err != nil || answered.Type != question.Type || answered.Class != question.Class || !strings.EqualFold(answered.Name.String(), question.Name.String()):
		return nil, errOtherQuestion
	case header.RCode == dnsmessage.RCodeNameError:
		return nil, fmt.Errorf("%w: the name %q does not exist", errNoRecords, question.Name)
	}
	if err := parser.SkipAllQuestions(); err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	all, err := parser.AllAnswers()
	if err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	var records []dnsmessage.Resource
	for _, record := range all {
		if record.Header.Type == question.Type && record.Header.Class == question.Class {
			records = append(records, record)
		}
	}
	switch {
	case len(records) > 0:
		return records, nil
	case !header.Authoritative && !header.RecursionAvailable:
		return nil, errors.New("it knows nothing about the name, and asks no other server (no recursion)")
	default:
		return nil, fmt.Errorf("%w: the name %q has none of type %s", errNoRecords, question.Name, strings.TrimPrefix(question.Type.String(), "Type"))
	}
}

// rcodes are the codes of failures as other programs show them.
var rcodes = map[dnsmessage.RCode]string{
	dnsmessage.RCodeFormatError:    "FORMERR",
	dnsmessage.RCodeServerFailure:  "SERVFAIL",
	dnsmessage.RCodeNotImplemented: "NOTIMP",
	dnsmessage.RCodeRefused:        "REFUSED",
}

func rcode(code dnsmessage.RCode) string {
	if name, ok := rcodes[code]; ok {
		return name
	}
	return fmt.Sprintf("response code %d", code)
}
