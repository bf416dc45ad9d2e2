package hostname

import "testing"

// TestHostnames: nothing that names a host or a user can be an option of a
// command, or another line of a proxy's protocol.
func TestHostnames(t *testing.T) {
	for _, host := range []string{"b", "b.example", "my_host-1", "bücher.example", "192.0.2.1", "2001:db8::1", "fe80::1%eth0", "fe80::1%en-0.1", "b.example."} {
		if err := CheckHost(host); err != nil {
			t.Errorf("host %q: %v", host, err)
		}
	}
	for _, user := range []string{"u", "first last", `CORP\u`, "u@corp.example", "ü", "u-1", "$u"} {
		if err := CheckUser(user); err != nil {
			t.Errorf("user %q: %v", user, err)
		}
	}
	for _, alias := range []string{"prod", "[b.example]:2222", "b.example", "2001:db8::1"} {
		if err := CheckAlias(alias); err != nil {
			t.Errorf("alias %q: %v", alias, err)
		}
	}
	bad := []string{"-oProxyCommand=x", "-", "b\r\nX: y", "b\n", "\rb", "b\x00", "b\x1b[2J", "b\u0085"}
	for _, s := range bad {
		for what, check := range map[string]func(string) error{"host": CheckHost, "user": CheckUser, "alias": CheckAlias} {
			if check(s) == nil {
				t.Errorf("%s %q is taken", what, s)
			}
		}
	}
	for _, host := range []string{"", "a b", "a/b", "a@b", "a:b", "a$b", "a*", "a,b", "a'b", "fe80::1%eth 0"} {
		if CheckHost(host) == nil {
			t.Errorf("host %q is taken", host)
		}
	}
}
