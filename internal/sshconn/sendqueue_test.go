package sshconn

import (
	"bytes"
	"slices"
	"testing"
)

// TestSendQueueOfBytes: single bytes, to a target that does not read, take hardly
// more memory than they are, and stay in order.
func TestSendQueueOfBytes(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 513, 4097} { // one for each size of buffer
		q := &sendQueue{sending: true} // a write that gets nowhere
		var written []byte
		for {
			p := slices.Repeat([]byte{byte(len(written))}, size)
			n := q.put(p)
			written = append(written, p[:n]...)
			if n < size {
				break
			}
		}
		var queued []byte
		held := 0
		for _, k := range q.chunks {
			queued = append(queued, k.Data...)
			held += cap(k.Data)
		}
		if len(written) != sendLimit || !bytes.Equal(queued, written) {
			t.Errorf("by %d: %d bytes were taken, and %d are queued", size, len(written), len(queued))
		}
		if held > 2*sendLimit {
			t.Errorf("by %d: %d bytes take %d KiB", size, sendLimit, held>>10)
		}
	}
}
