package layer4

// conn.go finds what the layers of a connection can do. caddy-l4 puts one around another,
// and hides all that net.Conn does not have.

import (
	"context"
	"net"
	"reflect"
	"strings"

	l4 "github.com/mholt/caddy-l4/layer4"
)

// conn is a connection of caddy-l4 as a forwarder takes it. Its Read begins with what
// matchers have read.
type conn struct{ *l4.Connection }

// CloseWrite ends the writing direction, of the outermost layer that can do so; both if
// none can.
func (c conn) CloseWrite() error {
	if l, ok := layerOf[interface{ CloseWrite() error }](c.Connection); ok {
		return l.CloseWrite()
	}
	return c.Close()
}

// HandshakeContext does the TLS handshake that a listener wrapper has left to be done.
func (c conn) HandshakeContext(ctx context.Context) error {
	if l, ok := layerOf[interface{ HandshakeContext(context.Context) error }](c.Connection); ok {
		return l.HandshakeContext(ctx)
	}
	return nil
}

// NetConn returns the innermost layer, which is the socket: forwarders reset it.
func (c conn) NetConn() net.Conn {
	var layer net.Conn = c.Connection
	for next := below(layer); next != nil; next = below(layer) {
		layer = next
	}
	return layer
}

// layerOf returns the outermost layer that is a T.
func layerOf[T any](layer net.Conn) (l T, ok bool) {
	for ; layer != nil; layer = below(layer) {
		if l, ok = layer.(T); ok {
			return l, true
		}
	}
	return l, false
}

// below returns the next layer, nil if there is none.
func below(layer net.Conn) net.Conn {
	switch layer := layer.(type) {
	case *l4.Connection:
		return layer.Conn
	case interface{ NetConn() net.Conn }: // TLS
		return layer.NetConn()
	case interface{ Raw() net.Conn }: // the PROXY protocol
		return layer.Raw()
	}
	// The handlers throttle and tee embed a connection in a type that they do not export
	// (caddy-l4 v0.1.2).
	// They write through unchanged, so a half-close may go past them.
	v := reflect.Indirect(reflect.ValueOf(layer))
	if v.Kind() != reflect.Struct || !strings.HasPrefix(v.Type().PkgPath(), "github.com/mholt/caddy-l4/modules/") {
		return nil
	}
	if embedded := v.FieldByName("Conn"); embedded.IsValid() && embedded.CanInterface() {
		next, _ := reflect.TypeAssert[net.Conn](embedded)
		return next
	}
	return nil
}
