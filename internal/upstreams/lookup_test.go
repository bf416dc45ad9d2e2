package upstreams

import (
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

func TestAbsoluteName(t *testing.T) {
	for s, want := range map[string]string{
		"web.internal": "web.internal.", "WEB.Internal.": "web.internal.", "web": "web.", "_http._tcp.web": "_http._tcp.web.",
		strings.Repeat("a", 63) + ".b": strings.Repeat("a", 63) + ".b.", "1.web": "1.web.",
	} {
		if got, err := absoluteName(s); err != nil || got != want {
			t.Errorf("%q: got %q, %v", s, got, err)
		}
	}
	for _, s := range []string{
		"", ".", "..", "a..b", ".a", "10.0.0.1", "10.0.0.1.", "::1", "fe80::1%eth0", "web:80", "a b", "a/b", "{env.HOME}", "a\x00b", "münchen.example",
		strings.Repeat("a", 64), strings.Repeat("a.", 127) + "a",
	} {
		if got, err := absoluteName(s); err == nil {
			t.Errorf("%q is taken as %q", s, got)
		}
	}
}

// TestInOrder: a record is first as often as its weight says.
func TestInOrder(t *testing.T) {
	var records []*dnsmessage.SRVResource
	for _, r := range []dnsmessage.ResourceBody{
		srv("last.", 1, 20, 1000), srv("never.", 1, 10, 0), srv("often.", 1, 10, 60), srv("seldom.", 1, 10, 20), srv("sometimes.", 1, 10, 40),
	} {
		records = append(records, r.(*dnsmessage.SRVResource))
	}
	const rounds = 6000
	first := make(map[string]int)
	for range rounds {
		ordered := inOrder(records)
		first[ordered[0].Target.String()]++
		if len(ordered) != len(records) || ordered[3].Target.String() != "never." || ordered[4].Target.String() != "last." {
			t.Fatalf("got the order %v", ordered)
		}
	}
	for name, share := range map[string]float64{"often.": 60. / 120, "sometimes.": 40. / 120, "seldom.": 20. / 120} {
		// Seven standard deviations at least.
		if got, want := float64(first[name]), share*rounds; got < want-300 || got > want+300 {
			t.Errorf("%s is first %v times of %d, want about %v", name, got, rounds, want)
		}
	}
}
