// Package remedy says what each cause of a failure means, and what to do about it. It
// does not find causes: package connect does. Packages doctor and statuspage import it.
package remedy

import (
	"cmp"
	"net"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
)

// Causes that only an open channel shows, besides the words of a
// failure.OpenReason.
const (
	// CauseCertificate is that the certificate that lets in permits no channel.
	CauseCertificate failure.Cause = "certificate_without_forwarding"
	// CausePermitOpen is that the tunnel's permit_open lacks the target.
	CausePermitOpen failure.Cause = "permit_open"
)

// Remedy is what a cause means, and what a person does about it. In fix the
// words in braces stand for what a patient knows.
type Remedy struct{ Means, fix string }

// ByCause are those of all causes.
var ByCause = map[failure.Cause]Remedy{
	failure.CauseConfiguration: {
		"a file or a secret cannot be used",
		"correct what the error names; files have to be readable for the user that Caddy runs as, and variables set in its environment",
	},
	failure.CauseJump: {
		"the bastion before it does not reach it",
		"look whether {host} is right as seen from there, and whether sshd there may connect to it: AllowTcpForwarding yes, and {host} in PermitOpen if that is set",
	},
	failure.CauseProxy: {
		"the proxy, or the proxy_command, does not connect to it",
		"correct proxy or proxy_command, or have the proxy allow CONNECT to {host}",
	},
	failure.CauseUnknownName: {
		"the name does not resolve",
		"correct the host {name}, or have it resolve on this machine: getent hosts {name}",
	},
	failure.CauseRefused: {
		"nothing listens at that address",
		"start sshd there (systemctl start ssh), or write the port that it has behind the host, in place of {port}: ss -tlnp on the bastion shows it",
	},
	failure.CauseUnreachable: {
		"there is no way to that address",
		"correct the host {name}, or fix the route from this machine to it: ip route get <its address>",
	},
	failure.CauseNoAnswer: {
		"nothing answers there",
		"look whether the machine is up, and whether a firewall drops port {port}: nc -vz {name} {port}; if it is only slow, raise connect_timeout",
	},
	failure.CauseNoBanner: {
		"something accepts connections and says nothing",
		"look what listens on port {port} there: ss -tlnp on the bastion; if that is sshd it hangs: restart it (systemctl restart ssh); if it is only slow, raise connect_timeout",
	},
	failure.CauseNotSSH: {
		"what answers is no SSH server, or one that shuts us out",
		"write sshd's port behind the host, in place of {port}: ss -tlnp on the bastion shows it; if it is sshd's, raise MaxStartups there, or exempt this machine with PerSourcePenaltyExemptList",
	},
	failure.CauseKeyExchange: {
		"the key exchange has failed",
		"compare what sshd -T prints on the bastion for kexalgorithms, ciphers, macs and hostkeyalgorithms with kex_algorithms, ciphers, macs and host_key_algorithms of the tunnel",
	},
	failure.CauseHostKeyUnknown: {
		"nothing is known about its host key",
		"if {keygen} on the bastion prints {fingerprint}, add to the tunnel: host_key {fingerprint}",
	},
	failure.CauseHostKeyMismatch: {
		"the host key differs from the expected one",
		"find out why: this can be an attack; only if {keygen} on the bastion prints {fingerprint}, replace the expected key with: host_key {fingerprint}",
	},
	failure.CauseHostKeyRefused: {
		"the host key is revoked or too short, or its certificate is not valid",
		"give the bastion a new host key, or a certificate from the expected authority: ssh-keygen -A, HostCertificate in its sshd_config",
	},
	failure.CauseNoCredentials: {
		"no key or password to log in with that the bastion accepts",
		"add identity_file <path> to the tunnel, or password {env.<name>}, whichever the bastion accepts; the user that Caddy runs as has to be able to read the file",
	},
	failure.CauseKeyRefused: {
		"the bastion accepts none of the keys",
		"install the key: ssh-copy-id -i {identity} -p {port} {user}@{name}; or name the right one with identity_file, or the right user in place of {user}",
	},
	failure.CauseCertificateExpired: {
		"the certificate has expired",
		"sign it again: ssh-keygen -s <authority's key> -I <name> -n {user} -V +1d {identity}; Caddy takes the new one as soon as it is there",
	},
	failure.CausePasswordRefused: {
		"the bastion rejects the password",
		"correct what the placeholder of password stands for, or user, which is {user}; on the bastion, sshd -T -C user={user} shows whether it accepts passwords",
	},
	failure.CauseSecondFactor: {
		"the bastion asks for a second factor, such as a one-time code",
		"exempt {user} from it on the bastion: AuthenticationMethods publickey in a Match User block of its sshd_config, and an identity_file here; or a rule of its PAM module",
	},
	failure.CauseAuthentication: {
		"the authentication was cut off, or did not end in time",
		"see the bastion's log (journalctl -u ssh); if the agent waits for a confirmation, give it, or raise connect_timeout",
	},
	failure.CauseNotWaitedFor: {
		"another host was quicker, or has failed",
		"check this host: caddy ssh-tunnel check {tunnel}",
	},
	failure.CauseLost: {
		"the connection was lost",
		"see the bastion's log (journalctl -u ssh) for that moment",
	},
	failure.CauseProhibited: {
		"the bastion forbids a target, or an address to listen on",
		"correct AllowTcpForwarding, PermitOpen or PermitListen in its sshd_config, or the options before the key in authorized_keys; sshd -T -C user={user} prints what holds",
	},
	failure.CauseOther: {
		"something else",
		"see the error, and the bastion's log (journalctl -u ssh)",
	},
	CauseCertificate: {
		"the certificate permits login but no forwarding",
		"sign it with the extension, which ssh-keygen -s gives unless -O clear is there: ssh-keygen -s <authority's key> -I <name> -n {user} -O permit-port-forwarding {identity}",
	},
	CausePermitOpen: {
		"the tunnel's own permit_open does not permit the target",
		"add to the tunnel: permit_open {target}",
	},
}

// ByReason are those of the reasons for which a bastion refuses a channel to
// a target.
var ByReason = map[failure.OpenReason]Remedy{
	failure.OpenProhibited: {
		"the bastion forbids it",
		"in its sshd_config: AllowTcpForwarding yes, and PermitOpen, if it is set, has to list {target}, in this spelling; a key with restrict or no-port-forwarding in authorized_keys needs port-forwarding; sshd -T -C user={user} prints what holds",
	},
	failure.OpenRefused: {
		"nothing listens there, as seen from the bastion",
		"start the server that should listen on {target}, or correct the port; from the bastion: nc -vz {target.host} {target.port}",
	},
	failure.OpenUnknownName: {
		"the bastion cannot resolve the name",
		"correct {target.host}, or make the bastion resolve it: getent hosts {target.host}",
	},
	failure.OpenUnreachable: {
		"the bastion has no way to the target",
		"correct {target.host}, or fix the route from the bastion to it",
	},
	failure.OpenTimedOut: {
		"the target does not answer the bastion",
		"look whether {target.host} is up, and whether a firewall between it and the bastion drops port {target.port}",
	},
	failure.OpenFailed: {
		"the bastion could not connect, and does not say why",
		"see the bastion's log (journalctl -u ssh); it may have no route to {target.host}, or no such socket, or no permission for it",
	},
	failure.OpenUnsupported: {
		"the bastion does not know such channels",
		"use a server that has them, as OpenSSH does; for a socket, one that knows direct-streamlocal@openssh.com",
	},
	failure.OpenShortage: {
		"the bastion has no resources left",
		"see the bastion's log (journalctl -u ssh); its limit of open files or processes may be reached",
	},
	failure.OpenPending: {
		"the bastion leaves too many opens unanswered",
		"look whether {target.host} is up; connections to it wait for an answer",
	},
}

// generatedFix begins a fix for what the bastion forbids a key that Caddy has generated:
// most often its line in authorized_keys is older than the configuration.
const generatedFix = "the line of the tunnel's key in authorized_keys permits what the configuration needed when it was printed: replace it by the one that caddy ssh-tunnel public-key {tunnel} prints; or, "

// noTargetFix is for a bastion that forbids forwarding to where nothing is known to be.
const noTargetFix = "in its sshd_config: AllowTcpForwarding yes; a key with restrict or no-port-forwarding in authorized_keys needs port-forwarding; if PermitOpen is set, name a target that it lists: --target <host>:<port>; sshd -T -C user={user} prints what holds"

// generatedNoTargetFix begins noTargetFix for a key that Caddy has generated.
const generatedNoTargetFix = "without a target in the configuration, the line that caddy ssh-tunnel public-key {tunnel} prints permits no forwarding: add a target, and replace the line in authorized_keys by the one that it then prints; or, "

// socketFix is for a socket that the bastion forbids.
const socketFix = "in its sshd_config: AllowStreamLocalForwarding yes; a key with restrict or no-port-forwarding in authorized_keys needs port-forwarding"

// Facts is what there is to know where something has failed. What is not known
// is "", and is then left for a person to fill in.
type Facts struct {
	Tunnel, Host, User string
	// Generated says that it logs in with a key of identity auto.
	Generated bool
	// Identity is the path of the public key to log in with.
	Identity string
	// Fingerprint is that of the host key that was shown, and keygen the command
	// that prints it on the bastion.
	Fingerprint, Keygen string
	// Target is what was to be dialed.
	Target string
}

// Fill puts what is known into a fix.
func (p Facts) Fill(fix string) string {
	name, port := splitKnown(p.Host)
	targetName, targetPort := splitKnown(p.Target)
	return strings.NewReplacer(
		"{tunnel}", p.Tunnel,
		"{host}", cmp.Or(p.Host, "the bastion"),
		"{name}", cmp.Or(name, "<host>"),
		"{port}", cmp.Or(port, "22"),
		"{user}", cmp.Or(p.User, "<user>"),
		"{identity}", cmp.Or(p.Identity, "<key>.pub"),
		"{fingerprint}", cmp.Or(p.Fingerprint, "SHA256:<fingerprint>"),
		"{keygen}", cmp.Or(p.Keygen, "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"),
		"{target}", cmp.Or(p.Target, "the target"),
		"{target.host}", cmp.Or(targetName, p.Target, "the target"),
		"{target.port}", cmp.Or(targetPort, "<port>"),
	).Replace(fix)
}

// splitKnown is net.SplitHostPort for what may be no address.
func splitKnown(address string) (host, port string) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", ""
	}
	return host, port
}

// Fix is what to do about a cause.
func (p Facts) Fix(cause failure.Cause) string { return p.Fill(ByCause[cause].fix) }

// FixOpen is what to do about a channel that was refused.
func (p Facts) FixOpen(reason failure.OpenReason) string {
	fix := ByReason[reason].fix
	if reason == failure.OpenProhibited && strings.HasPrefix(p.Target, "/") {
		fix = socketFix
	}
	if reason == failure.OpenProhibited && p.Generated {
		fix = generatedFix + fix
	}
	return p.Fill(fix)
}

// FixNoTarget is what to do if the bastion forbids forwarding, and the configuration has no
// target. The line of a generated key then permits no forwarding.
func (p Facts) FixNoTarget() string {
	fix := noTargetFix
	if p.Generated {
		fix = generatedNoTargetFix + fix
	}
	return p.Fill(fix)
}
