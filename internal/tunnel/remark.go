package tunnel

import "go.uber.org/zap"

// remark says what an operator should know of a bastion's algorithms, once for
// as long as there is a tunnel of the name: not at each reconnect and reload.
func (p *pool) remark(m *member) {
	n := m.attempt.Algorithms
	if n == nil {
		return
	}
	log, about := p.hostLog(m.host), zap.String("server", m.attempt.Server)
	if p.cfg.Inferior(n) && p.counters.First("post-quantum "+m.host.Address) {
		log.Info("the bastion has no post-quantum key exchange: what is recorded today may be read once there are quantum computers; OpenSSH has one in common with us from 9.9 on",
			zap.String("kex", n.KeyExchange), about)
	}
	if n.Exposed() && p.counters.First("strict "+m.host.Address) {
		log.Warn("the bastion has no strict key exchange, and neither aes128-gcm@openssh.com nor aes256-gcm@openssh.com: somebody in the middle could take its first messages away (CVE-2023-48795); update it",
			zap.String("cipher", n.Cipher), zap.String("mac", n.MAC), about)
	}
}
