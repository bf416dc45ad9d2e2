package keyfile

import "testing"

// FuzzParse: no file leads to a panic, and what is no key is explained.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "-----BEGIN EC PRIVATE KEY-----\nMHc=\n-----END EC PRIVATE KEY-----\n", "\xff\xfea", "0\x03\x02\x01\x00"} {
		f.Add([]byte(seed), "horse")
	}
	f.Fuzz(func(t *testing.T, data []byte, passphrase string) {
		if block := privateBlock(data); block != nil && block.Type == typeOpenSSH {
			if head, err := parseHead(block); err == nil && head.rounds() > 16 {
				t.Skip("it takes too long")
			}
		}
		_, err := parse(data, []byte(passphrase))
		if err != nil && Explain("/k", data, err) == nil {
			t.Error("no word on it")
		}
		_ = ExplainLocked("/k", data)
		_ = EmbeddedPublicKey(data)
	})
}
