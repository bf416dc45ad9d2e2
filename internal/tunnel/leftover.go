package tunnel

import (
	"reflect"
	"time"
	"unsafe"
)

// leftover.go ends what x/crypto would leave behind of a connection on which the
// bastion breaks the protocol.
//
// x/crypto reads ahead: its reader hands packets on over a channel that holds 16
// of them, to the authentication and after that to what serves the channels.
// Either gives up over a packet that it does not take, and if more than 16 follow,
// the reader waits for ever to be rid of the next: three goroutines, and up to
// 17 packets of 256 KiB. A bastion that means harm can have that with each
// connection, and only who takes the packets ends it.

// takeLeftover takes what x/crypto has read on a connection of its own type and
// will not take itself, having given up. It returns when the reader has ended,
// which needs the connection under it to be closed.
func takeLeftover(conn any) {
	for range unreadOf(conn) { //nolint:revive // nobody wants them
	}
}

// unreadOf returns the channel that x/crypto's reader writes to, which is not
// exported: conn.transport.incoming. If it is not there, in a version of x/crypto
// that differs, it returns one that is closed. TestMaliceLeaks tells of that.
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

// loginBudget is how much a bastion may send until it has let us in. An honest one
// sends a few KiB, and sshd's longest banner is 1 MiB.
const loginBudget = 4 << 20

// Before x/crypto first asks how to authenticate, nobody outside has its
// connection: there nothing can be taken from the reader, and it must not get
// ahead in the first place. By then a server has sent little more than its half
// of the key exchange.
const (
	// paceBytes is how much x/crypto gets in one piece: less than 16 packets,
	// of which the shortest has 22 bytes.
	paceBytes = 320
	// paceDelay is the time that it has to act on a piece before the next.
	paceDelay = time.Millisecond
)

// The stages of a wire, by how x/crypto is kept from reading ahead.
const (
	// stageExchange: up to the host key, each packet is awaited by the key
	// exchange itself.
	stageExchange = iota
	// stagePaced: after it, until x/crypto asks how to authenticate.
	stagePaced
	// stageLogin: until it has let us in.
	stageLogin
	// stageOpen: what the bastion says counts for nothing but traffic.
	stageOpen
)

// advance has the wire enter a stage, unless it is past it.
func (w *wire) advance(stage int32) {
	for {
		now := w.stage.Load()
		if now >= stage || w.stage.CompareAndSwap(now, stage) {
			return
		}
	}
}

// pace returns the part of p that may be read into now. It is false if the wire
// has died meanwhile.
func (w *wire) pace(p []byte) ([]byte, bool) {
	switch stage := w.stage.Load(); {
	case stage >= stageLogin:
		return p, true
	case stage == stageExchange:
		w.piece = 0
		return p[:min(len(p), paceBytes)], true
	case w.piece <= 0:
		timer := time.NewTimer(paceDelay)
		defer timer.Stop()
		select {
		case <-w.dead:
			return nil, false
		case <-timer.C:
		}
		w.piece = paceBytes
	}
	return p[:min(len(p), w.piece)], true
}
