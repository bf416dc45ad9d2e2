package forward

import (
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// losing is a connection that a test loses.
type losing struct {
	net.Conn
	lose func(ended bool)
}

func (c *losing) AfterLost(f func(ended bool)) func() bool {
	c.lose = f
	return func() bool { return true }
}

// TestEndIfLost has a peer that does not read keep a connection until its other
// end is lost, but not cut off the rest of what had ended before that.
func TestEndIfLost(t *testing.T) {
	for _, ended := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			conn, peer := net.Pipe()
			defer conn.Close()
			defer peer.Close()
			other := &losing{}
			defer endIfLost(conn, other)()
			read, written := make(chan error, 1), make(chan error, 1)
			go func() {
				_, err := conn.Read(make([]byte, 1))
				read <- err
			}()
			go func() {
				_, err := conn.Write([]byte("the rest"))
				written <- err
			}()
			time.Sleep(time.Hour)
			synctest.Wait()
			if len(read)+len(written) > 0 {
				t.Fatal("it ended before anything was lost")
			}
			other.lose(ended)
			time.Sleep(lostGrace)
			synctest.Wait()
			if len(read) != 1 {
				t.Error("what reads from it goes on")
			}
			if still := len(written) == 0; still != ended {
				t.Errorf("ended before: %t; what writes to it goes on: %t", ended, still)
			}
		})
	}
}
