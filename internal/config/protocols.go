// SPDX-License-Identifier: Apache-2.0

package config

import "time"

// ACME says how the ACME server proves names, and what it bears.
type ACME struct {
	// Whether it is served, at /acme/CA/directory for each CA that is active.
	On bool `yaml:"on"`

	// The URL under which clients reach the server, when that is not the name or
	// address that they connect to: https:// and a host, and a port if need be.
	URL string `yaml:"url"`

	// The profiles that clients may ask for. The first is for those that ask for none.
	// The default is server alone.
	Profiles []string `yaml:"profiles"`

	// Whether accounts must be bound to a key that `tally acme bindings add` has given
	// out. Without it everybody who reaches the server can have an account, and gets
	// certificates for the names that they control, as far as the policies allow.
	ExternalAccount bool `yaml:"external_account"`

	// The URL of the terms that account holders agree to.
	Terms string `yaml:"terms"`

	// The URL of a page about the CA.
	Website string `yaml:"website"`

	// The networks that the server may connect to when it proves a name by http-01 or
	// tls-alpn-01, such as 10.0.0.0/8. By default there is none, and names are proven by dns-01
	// alone. Link-local and multicast addresses and this server's own listeners are never
	// connected to; loopback addresses only when a network within 127.0.0.0/8, or ::1, stands here.
	Allow []string `yaml:"allow"`

	// The address and port of the DNS resolver to ask. The default is that of this machine.
	Resolver string `yaml:"resolver"`

	// The challenges that are offered. The default is http-01, dns-01 and tls-alpn-01.
	Challenges []string `yaml:"challenges"`

	// The port that http-01 connects to, for networks where another one is agreed on.
	// The default is 80, as the standard says.
	HTTPPort int `yaml:"http_port"`

	// The port that tls-alpn-01 connects to. The default is 443, as the standard says.
	TLSPort int `yaml:"tls_port"`

	// How long one attempt to prove a name may take. The default is 10s.
	Timeout time.Duration `yaml:"timeout"`

	// For how long a name that was proven need not be proven again by the same
	// account. The default is 24h.
	Reuse time.Duration `yaml:"reuse"`

	// After what time clients ask again whether to renew (RFC 9773). A recall reaches
	// them this much later at most. The default is 10m.
	Poll time.Duration `yaml:"poll"`

	// What one client may ask for.
	Limits ACMELimits `yaml:"limits"`
}

// ACMELimits are what one client of the ACME server may ask for; 0 is the default.
// Renewals of certificates that name the one they replace do not count.
type ACMELimits struct {
	// New accounts in an hour from one address, or one /64 of IPv6. The default is 50.
	AccountsPerHour int `yaml:"accounts_per_hour"`

	// New orders in an hour by one account. The default is 300.
	OrdersPerHour int `yaml:"orders_per_hour"`

	// Orders of one account that are not finished. The default is 100.
	OpenOrders int `yaml:"open_orders"`

	// Failed attempts in an hour to prove one name, by one account. The default is 10.
	FailuresPerHour int `yaml:"failures_per_hour"`

	// Names in one order. The default is 100.
	Names int `yaml:"names"`

	// Bytes of one request. The default is 65536.
	Bytes int `yaml:"bytes"`
}

// EST says how devices enrol by EST. They sign in by an API token, or renew by the
// certificate that they have.
type EST struct {
	// Whether it is served, at /.well-known/est/CA for each CA that is active.
	On bool `yaml:"on"`

	// The address and port to serve it at, over TLS with the certificate of the pages. It is
	// not served beside those, because there it asks for client certificates, and browsers
	// would ask people for theirs. The default is 127.0.0.1:8444.
	Listen string `yaml:"listen"`

	// The CA that is meant at /.well-known/est/, for clients that cannot name one. Without
	// it they must.
	Authority string `yaml:"authority"`

	// What first certificates are for. The default is mutual. One that is renewed keeps
	// its profile.
	Profile string `yaml:"profile"`

	// After what time a client whose request waits for approval asks again. The default
	// is 5m.
	Retry time.Duration `yaml:"retry"`
}

// SPIFFE says which programs of this machine get an identity. They ask for it at a
// socket, by the Workload API.
type SPIFFE struct {
	// The path of the socket to serve the Workload API at. Everybody can connect to it, so
	// nobody but Tallystick should be able to write in its directory. Without it nothing is
	// served.
	Socket string `yaml:"socket"`

	// The CA that signs identities.
	Authority string `yaml:"authority"`

	// Which programs are who.
	Workloads []Workload `yaml:"workloads"`
}

// Workload is a program of this machine and its identity. It is told by user, group,
// path and sha256: one at least is set, and all that are set must be so. Only the user
// keeps apart those who mean harm.
type Workload struct {
	// The identity, such as spiffe://example.org/shop/backend. All are of one trust domain.
	ID string `yaml:"id"`

	// The user that the program runs as, by name or number.
	User string `yaml:"user"`

	// The group that the program runs as, by name or number.
	Group string `yaml:"group"`

	// The file that the program was started from, as an absolute path without symbolic links.
	// To see it of another user's program, Tallystick must be root or have CAP_SYS_PTRACE.
	Path string `yaml:"path"`

	// The SHA-256 of that file, in hexadecimal.
	SHA256 string `yaml:"sha256"`

	// What certificates are like. The default is spiffe.
	Profile string `yaml:"profile"`

	// How long certificates are valid. The default is that of the profile. The next one
	// is sent before half of it is over.
	Lifetime time.Duration `yaml:"lifetime"`
}

// Revocation says how revocation is published.
type Revocation struct {
	// Into how many parts the list of a CA is split, each named in the certificates
	// that it is for. Servers that read a file get the complete list. The default is 1.
	Shards int `yaml:"shards"`

	// How long a list is valid. The default is 168h. A new one is signed after each
	// revocation, and when a quarter of that has passed.
	Lifetime time.Duration `yaml:"lifetime"`

	// Whether to answer OCSP requests, and to name the responder in certificates.
	OCSP bool `yaml:"ocsp"`
}
