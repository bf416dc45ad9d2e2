package connect

import "go.uber.org/zap"

// Remark logs what an operator should know of the algorithms that an attempt has agreed on
// with the bastion at an address: once for as long as first reports, of a text, that it is
// the first. It is not for each reconnect and reload.
func (a *Attempt) Remark(cfg *Config, address string, first func(text string) bool, log *zap.Logger) {
	n := a.Algorithms
	if n == nil {
		return
	}
	about := zap.String("server", a.Server)
	if cfg.Inferior(n) && first("post-quantum "+address) {
		log.Info("the bastion has no post-quantum key exchange that Caddy supports: whoever records the traffic today may read it once there are quantum computers; OpenSSH 9.9 and newer have one",
			zap.String("kex", n.KeyExchange), about)
	}
	if n.Exposed() && first("strict "+address) {
		log.Warn("the bastion has no strict key exchange, and neither aes128-gcm@openssh.com nor aes256-gcm@openssh.com: somebody in the middle could take its first messages away (CVE-2023-48795); update it",
			zap.String("cipher", n.Cipher), zap.String("mac", n.MAC), about)
	}
}
