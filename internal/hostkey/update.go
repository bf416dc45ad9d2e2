// update.go follows a planned rotation of a server's host keys, as ssh does with
// UpdateHostKeys (draft-miller-sshm-hostkey-update). Only keys that were learned are
// updated: known_hosts files are never written.

package hostkey

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
)

const (
	// AnnounceRequest is the global request by which a server lists all its host keys
	// after the login.
	AnnounceRequest = "hostkeys-00@openssh.com"
	// ProveRequest is the global request that asks it to sign with some of them.
	ProveRequest = "hostkeys-prove-00@openssh.com"

	// maxAnnounced is how many keys a server may list. sshd has one of each type, and
	// in a rotation two.
	maxAnnounced = 32
)

// Session is the authenticated connection on which a server lists its host keys.
type Session struct {
	// ID is the session identifier (RFC 4253 section 7.2).
	ID []byte
	// HostKeyAlgorithm is what was agreed on in its key exchange.
	HostKeyAlgorithm string
	// Prove sends ProveRequest with a payload, and returns the answer's. If the
	// connection ends, its error is a context.Canceled.
	Prove func(ctx context.Context, keys []byte) (signatures []byte, err error)
}

// Updates reports whether Update may change anything. As with ssh, the key that was
// accepted has to be one that was learned before this connection.
func (v *Verifier) Updates() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.cfg.UpdateHostKeys && v.recalled && v.pinned != nil
}

// Update takes in a server's list of its host keys, which is the payload of
// AnnounceRequest. Keys that are new are learned once the server has proved that it has
// them; learned keys that it does not list are forgotten. What it does is logged. If
// anything is wrong, nothing changes. It ends with ctx. Updates must be true.
func (v *Verifier) Update(ctx context.Context, list []byte, s Session) {
	changed, err := v.update(ctx, list, s)
	switch {
	case errors.Is(err, context.Canceled): // the connection has ended
	case err != nil:
		v.log.Warn("the bastion's learned host keys are not updated", zap.Error(err))
	case len(changed.Add)+len(changed.Remove) > 0:
		v.log.Info("the bastion's learned host keys are updated",
			zap.String("host_key", describeHostKey(changed.Trusted)),
			zap.Strings("added", describeHostKeys(changed.Add)), zap.Strings("removed", describeHostKeys(changed.Remove)),
			zap.Strings("via", v.route.Via))
	}
}

// update is Update without the log.
func (v *Verifier) update(ctx context.Context, list []byte, s Session) (changed Change, err error) {
	announced, err := parseAnnounced(list)
	if err != nil {
		return Change{}, err
	}
	v.mu.Lock()
	change, learned := Change{Trusted: algorithms.PlainKey(v.pinned)}, v.learned
	v.mu.Unlock()
	if !contains(announced, change.Trusted) {
		return Change{}, errors.New("the bastion does not list the host key of this connection")
	}
	for _, k := range learned.Keys {
		if !contains(announced, k.Key) {
			change.Remove = append(change.Remove, k.Key)
		}
	}
	unproven := slices.DeleteFunc(announced, func(key ssh.PublicKey) bool { return learned.Has(key) || !v.acceptable(key) })
	if len(unproven) > 0 {
		if change.Add, err = s.prove(ctx, unproven); err != nil {
			return Change{}, err
		}
	}
	if len(change.Add)+len(change.Remove) == 0 {
		return Change{}, nil
	}
	return v.memory.Update(ctx, v.route, change)
}

// parseAnnounced returns the plain keys in a server's list. Certificates, and keys of
// types that are not supported, are left out.
func parseAnnounced(list []byte) (keys []ssh.PublicKey, err error) {
	for n := 1; len(list) > 0; n++ {
		var blob []byte
		if blob, list, err = cutString(list); err != nil {
			return nil, errors.New("the bastion's list of its host keys is malformed")
		}
		if n > maxAnnounced {
			return nil, fmt.Errorf("the bastion lists more than %d host keys", maxAnnounced)
		}
		key, err := ssh.ParsePublicKey(blob)
		if _, isCertificate := key.(*ssh.Certificate); err != nil || isCertificate {
			continue
		}
		if !bytes.Equal(key.Marshal(), blob) { // numbers with needless zeros (RFC 4251 section 5)
			continue
		}
		if contains(keys, key) {
			return nil, fmt.Errorf("the bastion lists a host key twice: %s", describeHostKey(key))
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// acceptable reports whether a key may be learned: it would be accepted by the next
// connection.
func (v *Verifier) acceptable(key ssh.PublicKey) bool {
	return v.cfg.CheckSize(key) == nil && v.checkRevoked(key) == nil &&
		slices.ContainsFunc(v.cfg.HostKeyOption().Names(), func(algo string) bool {
			return !algorithms.IsCertificate(algo) && algorithms.KeyType(algo) == key.Type()
		})
}

// prove asks the server to prove that it has the private halves of keys, and returns
// those of which it has. It is an error if a signature is wrong.
func (s *Session) prove(ctx context.Context, keys []ssh.PublicKey) (proven []ssh.PublicKey, err error) {
	var request []byte
	for _, key := range keys {
		request = append(request, wireString(key.Marshal())...)
	}
	signatures, err := s.Prove(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("asking the bastion to prove that it has its new host keys (%s): %w", ProveRequest, err)
	}
	negotiated, _, _ := strings.Cut(s.HostKeyAlgorithm, "-cert-v01@")
	for _, key := range keys {
		var blob []byte
		var signature ssh.Signature
		if blob, signatures, err = cutString(signatures); err == nil {
			err = ssh.Unmarshal(blob, &signature)
		}
		if err != nil {
			return nil, fmt.Errorf("the bastion has not signed with its new host key %s", describeHostKey(key))
		}
		isRSA := key.Type() == ssh.KeyAlgoRSA
		if isRSA && signature.Format == ssh.KeyAlgoRSA {
			continue // with SHA-1, which proves nothing
		}
		otherwise := isRSA && strings.HasPrefix(negotiated, "rsa-sha2-") && signature.Format != negotiated
		if otherwise || key.Verify(s.signed(key), &signature) != nil {
			return nil, fmt.Errorf("the bastion's signature with its new host key %s is wrong", describeHostKey(key))
		}
		proven = append(proven, key)
	}
	if len(signatures) > 0 {
		return nil, errors.New("the bastion's proof of its new host keys is malformed")
	}
	return proven, nil
}

// signed returns what the server signs to prove that it has a key.
func (s *Session) signed(key ssh.PublicKey) []byte {
	return ssh.Marshal(struct {
		Purpose      string
		Session, Key []byte
	}{ProveRequest, s.ID, key.Marshal()})
}

// cutString cuts off the string that data begins with (RFC 4251 section 5).
func cutString(data []byte) (s, rest []byte, err error) {
	var cut struct {
		String []byte
		Rest   []byte `ssh:"rest"`
	}
	err = ssh.Unmarshal(data, &cut)
	return cut.String, cut.Rest, err
}

func contains(keys []ssh.PublicKey, key ssh.PublicKey) bool {
	return slices.ContainsFunc(keys, func(k ssh.PublicKey) bool { return algorithms.SameKey(k, key) })
}

// describeHostKeys names host keys as ssh does.
func describeHostKeys(keys []ssh.PublicKey) []string {
	names := []string{}
	for _, key := range keys {
		names = append(names, describeHostKey(key))
	}
	return names
}
