// Package forward hands raw connections on to a target: what the listener
// wrapper, local, remote and dynamic forwards and the command share. It knows
// nothing of Caddy, and of SSH only the connections.
//
//	forward.go     Forwarder: from an accepted connection to its end
//	serve.go       accepting connections, through errors
//	limit.go       how many there may be at a time
//	idle.go        ending those that nothing goes through
//	proxyproto.go  telling the target who the client is
//	registry.go    the connections that are open, to end them all
//	layers.go      what a connection can do beneath the layers around it
//	socks5*.go     a SOCKS server, whose clients choose the target
//
// A Forwarder is used like this:
//
//	f := &forward.Forwarder{
//		Dial:   func(ctx context.Context, client net.Conn) (net.Conn, error) { ... },
//		Target: "db.internal:5432",
//		Logger: logger,
//	}
//	err := f.Serve(ln) // until ln is closed
package forward
