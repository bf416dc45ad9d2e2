package sshconn

import (
	"reflect"
	"unsafe"
)

// leftover.go ends what x/crypto would leave behind of a connection on which the
// bastion breaks the protocol.
//
// x/crypto reads ahead: its reader hands packets on over a channel that holds 16
// of them, to the authentication and after that to what serves the channels.
// Either gives up over a packet that it does not take. If more than 16 follow, the
// reader blocks forever on the next: three goroutines, and up to 17 packets of
// 256 KiB. A malicious bastion can cause that with each connection. It ends only if
// somebody takes the packets.

// TakeLeftover takes what x/crypto has read on a connection of its own type and
// will not take itself, having given up. It returns when the reader has ended,
// which needs the connection under it to be closed.
func TakeLeftover(conn any) {
	for range unreadOf(conn) { //nolint:revive // they are dropped
	}
}

// unreadOf returns the channel that x/crypto's reader writes to, which is not
// exported: conn.transport.incoming. If it is not there, in a version of x/crypto
// that differs, it returns one that is closed. TestMaliceLeaks fails then.
func unreadOf(conn any) <-chan []byte {
	none := make(chan []byte)
	close(none)
	transport, ok := fieldOf(reflect.ValueOf(conn), "transport")
	if !ok {
		return none
	}
	incoming, ok := fieldOf(transport, "incoming")
	if !ok || incoming.Type() != reflect.TypeFor[chan []byte]() || incoming.IsNil() {
		return none
	}
	p := incoming.UnsafePointer()
	return *(*chan []byte)(unsafe.Pointer(&p)) //nolint:gosec // a channel is a pointer, and its type is what was just checked
}

// fieldOf returns a field of a struct that v points to, directly or as what an
// interface holds.
func fieldOf(v reflect.Value, name string) (reflect.Value, bool) {
	for v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return reflect.Value{}, false
	}
	f := v.FieldByName(name)
	return f, f.IsValid()
}
