package sshtest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"strings"

	"golang.org/x/crypto/ssh"
)

// malice_wire.go is the least of SSH's transport that a client talks to (RFC
// 4253): curve25519-sha256, an Ed25519 host key, aes128-gcm@openssh.com.

// The numbers of messages that a Malice knows.
const (
	msgDisconnect      = 1
	msgServiceRequest  = 5
	msgKexInit         = 20
	msgNewKeys         = 21
	msgECDHInit        = 30
	msgUserauthRequest = 50
	msgUserauthSuccess = 52
	msgGlobalRequest   = 80
	msgRequestFailure  = 82
	msgChannelOpen     = 90
)

// The messages that a Script sends.
type (
	// Disconnect ends a connection.
	Disconnect struct {
		Reason  uint32 `sshtype:"1"`
		Message string
		Lang    string
	}
	// Ignore is to be ignored.
	Ignore struct {
		Data string `sshtype:"2"`
	}
	// Banner is shown before authentication.
	Banner struct {
		Message string `sshtype:"53"`
		Lang    string
	}
	// InfoRequest asks the questions of a keyboard-interactive dialogue, which
	// Prompts holds packed.
	InfoRequest struct {
		Name        string `sshtype:"60"`
		Instruction string
		Lang        string
		Count       uint32
		Prompts     []byte `ssh:"rest"`
	}
	// GlobalRequest asks something of the client.
	GlobalRequest struct {
		Name      string `sshtype:"80"`
		WantReply bool
		Data      []byte `ssh:"rest"`
	}
	// OpenChannel opens one towards the client.
	OpenChannel struct {
		Type      string `sshtype:"90"`
		Ours      uint32
		Window    uint32
		MaxPacket uint32
		Data      []byte `ssh:"rest"`
	}
	// ChannelConfirm says that the client's channel is open.
	ChannelConfirm struct {
		Theirs    uint32 `sshtype:"91"`
		Ours      uint32
		Window    uint32
		MaxPacket uint32
	}
	// ChannelFailure says that it is not.
	ChannelFailure struct {
		Theirs  uint32 `sshtype:"92"`
		Reason  uint32
		Message string
		Lang    string
	}
	// WindowAdjust lets the client send more.
	WindowAdjust struct {
		Theirs uint32 `sshtype:"93"`
		Bytes  uint32
	}
	// ChannelData is data.
	ChannelData struct {
		Theirs uint32 `sshtype:"94"`
		Data   string
	}
	// ChannelEOF says that no more data will come.
	ChannelEOF struct {
		Theirs uint32 `sshtype:"96"`
	}
	// ChannelClose closes a channel.
	ChannelClose struct {
		Theirs uint32 `sshtype:"97"`
	}
	// ChannelRequest asks something of a channel.
	ChannelRequest struct {
		Theirs    uint32 `sshtype:"98"`
		Name      string
		WantReply bool
	}
	// ChannelSuccess answers a request on a channel.
	ChannelSuccess struct {
		Theirs uint32 `sshtype:"99"`
	}
)

type (
	serviceAccept struct {
		Service string `sshtype:"6"`
	}
	userauthFailure struct {
		Methods []string `sshtype:"51"`
		Partial bool
	}
	channelOpen struct {
		Type      string `sshtype:"90"`
		ID        uint32
		Window    uint32
		MaxPacket uint32
		Data      []byte `ssh:"rest"`
	}
	kexInit struct {
		Cookie                                                   [16]byte `sshtype:"20"`
		Kex, HostKeys, CipherIn, CipherOut, MACIn, MACOut        []string
		CompressionIn, CompressionOut, LanguagesIn, LanguagesOut []string
		FirstFollows                                             bool
		Reserved                                                 uint32
	}
	ecdhInit struct {
		Client []byte `sshtype:"30"`
	}
	ecdhReply struct {
		HostKey   []byte `sshtype:"31"`
		Server    []byte
		Signature []byte
	}
)

// Greet sends a version line and reads the client's.
func (c *MaliceConn) Greet(version string) error {
	c.server = version
	if _, err := io.WriteString(c, version+"\r\n"); err != nil {
		return err
	}
	line := make([]byte, 0, 255)
	for one := make([]byte, 1); ; line = append(line, one[0]) {
		if _, err := io.ReadFull(c, one); err != nil {
			return err
		}
		if one[0] == '\n' {
			break
		}
	}
	c.client = strings.TrimSuffix(string(line), "\r")
	return nil
}

// Offer is what a Malice says in a key exchange.
type Offer struct {
	// HostKey is another than the Malice's own.
	HostKey ssh.Signer
	// Strict promises that nothing but the key exchange will be sent in it
	// (kex-strict-s-v00@openssh.com), and Intrude breaks the promise.
	Strict, Intrude bool
	// Half stops after the client's first half.
	Half bool
	// Then is called when the new keys are in use for what is sent, before the
	// client knows: what it sends goes out in one piece with our half.
	Then func()
	// Reset ends the exchange right after that.
	Reset bool
}

// errHalf is why an exchange with Offer.Half ends.
var errHalf = errors.New("half a key exchange")

// Exchange exchanges keys, for the first time or once more.
func (c *MaliceConn) Exchange(o Offer) error {
	key := o.HostKey
	if key == nil {
		key = c.malice.hostKey
	}
	mine := kexInit{
		Kex:      []string{"curve25519-sha256"},
		HostKeys: []string{key.PublicKey().Type()},
		CipherIn: []string{"aes128-gcm@openssh.com"}, CipherOut: []string{"aes128-gcm@openssh.com"},
		MACIn: []string{"hmac-sha2-256"}, MACOut: []string{"hmac-sha2-256"},
		CompressionIn: []string{"none"}, CompressionOut: []string{"none"},
	}
	if o.Strict {
		mine.Kex = append(mine.Kex, "kex-strict-s-v00@openssh.com")
	}
	ours := ssh.Marshal(mine)
	if err := c.SendPacket(ours); err != nil {
		return err
	}
	theirs, err := c.Next(msgKexInit)
	if err != nil {
		return err
	}
	var init ecdhInit
	packet, err := c.Next(msgECDHInit)
	if err == nil {
		err = ssh.Unmarshal(packet, &init)
	}
	if err != nil {
		return err
	}
	if o.Intrude {
		if err := c.Send(Ignore{"between the messages of the key exchange"}); err != nil {
			return err
		}
	}
	if o.Half {
		return errHalf
	}
	return c.finishExchange(key, ours, theirs, init.Client, o)
}

// finishExchange answers the client's half and takes the new keys into use.
func (c *MaliceConn) finishExchange(key ssh.Signer, ours, theirs, half []byte, o Offer) error {
	peer, err := ecdh.X25519().NewPublicKey(half)
	if err != nil {
		return err
	}
	ephemeral, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	shared, err := ephemeral.ECDH(peer)
	if err != nil {
		return err
	}
	secret := ssh.Marshal(struct{ K *big.Int }{new(big.Int).SetBytes(shared)})
	hostKey, public := key.PublicKey().Marshal(), ephemeral.PublicKey().Bytes()
	hash := sha256.Sum256(append(ssh.Marshal(struct {
		ClientVersion, ServerVersion                         string
		ClientInit, ServerInit, HostKey, ClientHalf, OurHalf []byte
	}{c.client, c.server, theirs, ours, hostKey, half, public}), secret...))
	if c.session == nil {
		c.session = hash[:]
	}
	signature, err := key.Sign(rand.Reader, hash[:])
	if err != nil {
		return err
	}
	if o.Then != nil {
		c.hold()
	}
	if err := c.Send(ecdhReply{hostKey, public, ssh.Marshal(signature)}); err != nil {
		return err
	}
	if err := c.SendPacket([]byte{msgNewKeys}); err != nil {
		return err
	}
	derive := func(letter byte) []byte {
		sum := sha256.Sum256(append(append(append(append([]byte{}, secret...), hash[:]...), letter), c.session...))
		return sum[:]
	}
	c.mu.Lock()
	c.written = newGCM(derive('B'), derive('D'))
	c.mu.Unlock()
	if o.Then != nil {
		o.Then()
		if err := c.release(); err != nil || o.Reset {
			return err
		}
	}
	if _, err := c.Next(msgNewKeys); err != nil {
		return err
	}
	c.read = newGCM(derive('A'), derive('C'))
	return nil
}

// Send sends a message.
func (c *MaliceConn) Send(message any) error { return c.SendPacket(ssh.Marshal(message)) }

// SendPacket sends whatever it is given.
func (c *MaliceConn) SendPacket(payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	const block = 16
	pad := block - (1+len(payload))%block
	if pad < 4 {
		pad += block
	}
	if _, ok := c.written.(plainCipher); ok && (5+len(payload)+pad)%8 != 0 {
		pad += 8 - (5+len(payload)+pad)%8 // the length counts as well
	}
	body := make([]byte, 1+len(payload)+pad)
	body[0] = byte(pad)
	copy(body[1:], payload)
	length := binary.BigEndian.AppendUint32(nil, uint32(len(body))) //nolint:gosec // short
	packet := append(length, c.written.seal(length, body)...)
	if c.holding {
		c.held = append(c.held, packet...)
		return nil
	}
	_, err := c.Write(packet)
	return err
}

// Burst sends messages in one piece, so that all are there when the client acts
// on the first.
func (c *MaliceConn) Burst(messages ...any) error {
	c.hold()
	for _, m := range messages {
		_ = c.Send(m) // it is held
	}
	return c.release()
}

// hold keeps what is sent until release.
func (c *MaliceConn) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holding = true
}

func (c *MaliceConn) release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.Write(c.held)
	c.holding, c.held = false, nil
	return err
}

// ReadPacket returns the next packet's payload.
func (c *MaliceConn) ReadPacket() ([]byte, error) {
	length := make([]byte, 4)
	if _, err := io.ReadFull(c, length); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length)
	if n > 1<<20 {
		return nil, errors.New("the client's packet is too long")
	}
	body := make([]byte, int(n)+c.read.overhead())
	if _, err := io.ReadFull(c, body); err != nil {
		return nil, err
	}
	body, err := c.read.open(length, body)
	if err != nil {
		return nil, err
	}
	if len(body) < 2 || int(body[0]) > len(body)-2 {
		return nil, errors.New("the client's packet is malformed")
	}
	return body[1 : len(body)-int(body[0])], nil
}

// packetCipher protects what goes in one direction.
type packetCipher interface {
	seal(length, body []byte) []byte
	open(length, body []byte) ([]byte, error)
	overhead() int
}

// plainCipher is none, as before the first key exchange.
type plainCipher struct{}

func (plainCipher) seal(_, body []byte) []byte          { return body }
func (plainCipher) open(_, body []byte) ([]byte, error) { return body, nil }
func (plainCipher) overhead() int                       { return 0 }

// gcm is aes128-gcm@openssh.com (RFC 5647).
type gcm struct {
	aead  cipher.AEAD
	nonce []byte
}

func newGCM(iv, key []byte) *gcm {
	block, err := aes.NewCipher(key[:16])
	if err != nil {
		panic(err) // the key is of the right size
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES has the right block size
	}
	return &gcm{aead, append([]byte{}, iv[:12]...)}
}

func (g *gcm) next() {
	binary.BigEndian.PutUint64(g.nonce[4:], binary.BigEndian.Uint64(g.nonce[4:])+1)
}

func (g *gcm) seal(length, body []byte) []byte {
	defer g.next()
	return g.aead.Seal(nil, g.nonce, body, length)
}

func (g *gcm) open(length, body []byte) ([]byte, error) {
	defer g.next()
	return g.aead.Open(nil, g.nonce, body, length)
}

func (g *gcm) overhead() int { return g.aead.Overhead() }
