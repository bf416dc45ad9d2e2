package permit

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestAddressesAsTheSystem compares parseAddr with getaddrinfo(3), by which a
// bastion reads a host: what that takes for an address must be compared as
// that address. Perl has a way to it that asks no DNS.
func TestAddressesAsTheSystem(t *testing.T) {
	perl := sshtest.Program(t, "perl")
	hosts := []string{
		"0", "1", "127.1", "127.0.1", "127.0.0.1", "127.0.0.1.", "127.0.0.1.1", ".1", "1.", "1..1", "256.1.1.1", "1.256", "1.65536", "1.1.65536",
		"2130706433", "4294967295", "4294967296", "18446744073709551617", "0x7f.1", "0X7F.0x1", "0x", "0x.1", "1.0x", "1.0x1000000", "1.0xffffff",
		"017700000001", "0177.1", "08", "1.08", "00000000000000000000001", "0000.0", "0b1", "0b1.1", "0o17", "1_0", "+1", "-1", "1.-1", "1e3", "0x-1", "a", "0xg",
		"::", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::127.0.0.1", "::127.1", "::0x7f.1", "1:2:3:4:5:6:7:8", "1::2::3", ":::", "0::00001", "::ffff:127.0.0.01",
	}
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same numbers each time
	for range 3000 {
		parts := make([]string, 1+random.IntN(4))
		for i := range parts {
			format := []string{"%d", "%d", "0%o", "0x%x", "0X%X", "00%o", "%dx", "0%d"}[random.IntN(8)]
			parts[i] = fmt.Sprintf(format, random.Uint64()>>(24+random.IntN(40)))
		}
		hosts = append(hosts, strings.Join(parts, "."))
	}
	cmd := exec.CommandContext(t.Context(), perl, "-MSocket=:all", "-ne", `
		chomp;
		my ($err, $r) = Socket::getaddrinfo($_, "", {flags => AI_NUMERICHOST, socktype => SOCK_STREAM});
		if ($err) { print "-\n" } else {
			my $a = $r->{addr};
			print $r->{family} == AF_INET ? inet_ntop(AF_INET, (unpack_sockaddr_in($a))[1]) : inet_ntop(AF_INET6, (unpack_sockaddr_in6($a))[1]), "\n";
		}`)
	cmd.Stdin = strings.NewReader(strings.Join(hosts, "\n") + "\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	answers := strings.Fields(string(out))
	if len(answers) != len(hosts) {
		t.Fatalf("%d answers to %d questions", len(answers), len(hosts))
	}
	addresses := 0
	for i, host := range hosts {
		addr, ok := parseAddr(host)
		if answers[i] == "-" {
			if ok {
				t.Errorf("%q is taken for %s, and is none to the system", host, addr)
			}
			continue
		}
		addresses++
		if want, _ := parseAddr(answers[i]); !ok || addr != want {
			t.Errorf("%q is %s (%t), and %s to the system", host, addr, ok, answers[i])
		}
	}
	if addresses < 100 || addresses > len(hosts)-100 {
		t.Errorf("%d of %d are addresses: too one-sided", addresses, len(hosts))
	}
}
