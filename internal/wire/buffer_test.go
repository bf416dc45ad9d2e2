package wire

import "testing"

func TestReadSize(t *testing.T) {
	type step struct{ read, next int }
	for name, steps := range map[string][]step{
		"bulk grows by filling":               {{idleBuffer, smallBuffer}, {smallBuffer, busyBuffer}, {busyBuffer, busyBuffer}, {32 << 10, busyBuffer}},
		"a small WebSocket stays idle":        {{130, idleBuffer}, {6, idleBuffer}, {511, idleBuffer}},
		"responses of 1 KiB":                  {{idleBuffer, smallBuffer}, {700, smallBuffer}, {1212, smallBuffer}, {1212, smallBuffer}},
		"the end of a burst lets the most go": {{idleBuffer, smallBuffer}, {smallBuffer, busyBuffer}, {3000, smallBuffer}},
		"seven small reads are no habit":      {{idleBuffer, smallBuffer}, {1, smallBuffer}, {1, smallBuffer}, {1, smallBuffer}, {1, smallBuffer}, {1, smallBuffer}, {1, smallBuffer}, {1, smallBuffer}, {1212, smallBuffer}, {1, smallBuffer}},
		"eight are":                           {{idleBuffer, smallBuffer}, {1, smallBuffer}, {1, smallBuffer}, {1, smallBuffer}, {1, smallBuffer}, {1, smallBuffer}, {1, smallBuffer}, {1, smallBuffer}, {1, idleBuffer}, {1, idleBuffer}},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewReadSize()
			for i, step := range steps {
				if s.Adapt(step.read); s.Next != step.next {
					t.Fatalf("after read %d, of %d bytes: %d, want %d", i+1, step.read, s.Next, step.next)
				}
			}
		})
	}
}

func TestBufferFor(t *testing.T) {
	for _, c := range []struct{ n, length, size int }{
		{1, 1, idleBuffer},
		{idleBuffer, idleBuffer, idleBuffer},
		{idleBuffer + 1, idleBuffer + 1, smallBuffer},
		{smallBuffer + 1, smallBuffer + 1, pageBuffer},
		{packetBuffer, packetBuffer, packetBuffer},
		{packetBuffer + 1, packetBuffer + 1, busyBuffer},
		{10 * busyBuffer, busyBuffer, busyBuffer},
	} {
		k := BufferFor(c.n)
		if len(k.Data) != c.length || len(*k.buf) != c.size {
			t.Errorf("bufferFor(%d): %d of %d bytes", c.n, len(k.Data), len(*k.buf))
		}
		k.Release()
	}
}
