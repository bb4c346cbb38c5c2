// SPDX-License-Identifier: Apache-2.0

package starttls

import "slices"

// A Protocol is a way to reach TLS on a server.
type Protocol struct {
	Scheme string // what stands before "://" in a target
	// Ports are the ports where it is usually served, the default first. None
	// means that a target must name its port.
	Ports []uint16
	// Dialogue names what is spoken before TLS: "smtp", "postgres"; "" where TLS
	// begins at once. It is what Upgrade does, and a name for reports.
	Dialogue string
}

// Direct says whether TLS begins at once.
func (p Protocol) Direct() bool { return p.Dialogue == "" }

// protocols is the table behind Protocols. Ports are those of the IANA registry
// or, where it has none (Kafka), of the software.
var protocols = []Protocol{
	{"tls", nil, ""},
	{"https", []uint16{443, 8443}, ""},
	{"smtps", []uint16{465}, ""},
	{"imaps", []uint16{993}, ""},
	{"pop3s", []uint16{995}, ""},
	{"nntps", []uint16{563}, ""},
	{"ldaps", []uint16{636, 3269}, ""},
	{"ftps", []uint16{990}, ""},
	{"ircs", []uint16{6697}, ""},
	{"mqtts", []uint16{8883}, ""},
	{"amqps", []uint16{5671}, ""},
	{"kafka+tls", []uint16{9093}, ""},
	{"rediss", []uint16{6379, 6380}, ""},
	{"xmpps-client", []uint16{5223}, ""},

	{"smtp", []uint16{25, 587}, "smtp"},
	{"submission", []uint16{587}, "smtp"},
	{"lmtp", []uint16{24}, "lmtp"},
	{"imap", []uint16{143}, "imap"},
	{"pop3", []uint16{110}, "pop3"},
	{"sieve", []uint16{4190}, "sieve"},
	{"nntp", []uint16{119}, "nntp"},
	{"ldap", []uint16{389, 3268}, "ldap"},
	{"postgres", []uint16{5432}, "postgres"},
	{"postgresql", []uint16{5432}, "postgres"},
	{"mysql", []uint16{3306}, "mysql"},
	{"mariadb", []uint16{3306}, "mysql"},
	{"ftp", []uint16{21}, "ftp"},
	{"xmpp-client", []uint16{5222}, "xmpp-client"},
	{"xmpp-server", []uint16{5269}, "xmpp-server"},
	{"irc", []uint16{6667}, "irc"},
	{"nats", []uint16{4222}, "nats"},
	{"rdp", []uint16{3389}, "rdp"},
}

// dialogues holds how each preface is spoken.
var dialogues = map[string]func(*dialogue) error{
	"smtp":        func(d *dialogue) error { return smtp(d, "EHLO") },
	"lmtp":        func(d *dialogue) error { return smtp(d, "LHLO") },
	"imap":        imap,
	"pop3":        pop3,
	"sieve":       sieve,
	"nntp":        nntp,
	"ldap":        ldap,
	"postgres":    postgres,
	"mysql":       mysql,
	"ftp":         ftp,
	"xmpp-client": func(d *dialogue) error { return xmpp(d, "jabber:client") },
	"xmpp-server": func(d *dialogue) error { return xmpp(d, "jabber:server") },
	"irc":         irc,
	"nats":        nats,
	"rdp":         rdp,
}

// Protocols returns every protocol, those that begin with TLS first.
func Protocols() []Protocol { return slices.Clone(protocols) }

// Lookup returns the protocol of a scheme, in lower case.
func Lookup(scheme string) (Protocol, bool) {
	return find(func(p Protocol) bool { return p.Scheme == scheme })
}

// ForPort returns the protocol that is usually served at a port, for targets
// that name only that. Where there is none, TLS at once is the best guess.
func ForPort(port uint16) (Protocol, bool) {
	return find(func(p Protocol) bool { return slices.Contains(p.Ports, port) })
}

func find(fits func(Protocol) bool) (Protocol, bool) {
	i := slices.IndexFunc(protocols, fits)
	if i < 0 {
		return Protocol{}, false
	}
	return protocols[i], true
}
